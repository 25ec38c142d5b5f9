"""A Python module in a process of its own, which is given a JSON object and answers with others.

The parent iterates over a :class:`JsonChild`; the module calls :func:`serve_parent`. The child ends
with its parent, however that one ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from lemore_core.common.child_env import same_modules
from lemore_core.common.errors import LemoreError, in_one_line

TERMINATE_S = 2.0
TAIL_BYTES = 4096
ORPHANED = 2

Answer = Callable[..., None]

# the threads that started those that run
_running: weakref.WeakKeyDictionary[JsonChild, threading.Thread] = weakref.WeakKeyDictionary()


class ChildError(LemoreError):
    """A child that failed or died; ``kind`` is the type of its exception, empty if it died."""

    def __init__(self, message: str, kind: str = '') -> None:
        super().__init__(message)
        self.kind = kind


class JsonChild:
    """A running child; iterating over it sends ``order`` and yields the answers.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self, module: str, order: Mapping[str, Any]) -> None:
        self._module = module
        self._order = order
        # no pipe: nobody would empty it
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - see close
        try:
            self._process = subprocess.Popen(
                [sys.executable, '-m', module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=same_modules(),
                text=True,
                # a group of its own: it is ended whole, and a terminal's Ctrl-C is for the parent
                start_new_session=True,
            )
        except OSError:
            self._errors.close()
            raise
        _running[self] = threading.current_thread()

    def __enter__(self) -> JsonChild:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the answers until the process ends.

        Raises:
            ChildError: it failed, with the message of its exception, or died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it ended: how, is seen below
            # left open, because the process ends with it
            self._process.stdin.write(json.dumps(self._order, default=str) + '\n')
            self._process.stdin.flush()
        for line in self._process.stdout:
            answer = json.loads(line)
            if 'failed' in answer:
                raise ChildError(answer['failed'], answer['kind'])
            yield answer
        if self._process.wait():
            raise ChildError(self._end())

    def stop(self) -> None:
        """End the process, if it still runs; may be called from any thread."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            # it may have ended a moment ago
            with suppress(subprocess.TimeoutExpired, ProcessLookupError):
                if self._process.poll() is None:
                    os.killpg(self._process.pid, number)
                self._process.wait(TERMINATE_S)

    def close(self) -> None:
        """End the process, if it still runs, and close its pipes."""
        self.stop()
        _running.pop(self, None)
        self._errors.close()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # the order may still lie in it
                pipe and pipe.close()

    def _end(self) -> str:
        code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            hint = ' (is there enough memory?)' if -code == signal.SIGKILL else ''
            return f'the process {self._module} was ended by {name}{hint}'
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - TAIL_BYTES))
        last = self._errors.read().decode(errors='replace').strip().splitlines()[-1:]
        return ': '.join([f'the process {self._module} ended with code {code}', *last])


def stop_children(thread: threading.Thread) -> None:
    """End the children that a thread started and may be waiting for: it gets a ChildError."""
    for child, owner in list(_running.items()):
        if owner is thread:
            child.stop()


def serve_parent(work: Callable[[dict[str, Any], Answer], None]) -> int:
    """Do the parent's order and return the exit code; the other end of :class:`JsonChild`.

    ``work`` gets the order and a function that sends its keyword arguments as an answer. What it
    raises is raised at the parent. What libraries print goes to standard error.
    """
    output = os.dup(1)
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        try:
            os.write(output, f'{json.dumps(values)}\n'.encode())
        except OSError:
            # nobody listens any more; raising might go through a library's threads
            os._exit(ORPHANED)

    # unbuffered: the rest is read elsewhere
    with open(0, 'rb', buffering=0, closefd=False) as given:
        line = given.readline()
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        work(json.loads(line), answer)
    except Exception as error:  # noqa: BLE001 - the parent is told, whatever it is
        answer(failed=in_one_line(error), kind=type(error).__name__)
        return 1
    return 0


def _end_with_input() -> None:
    while os.read(0, 1024):
        pass
    os._exit(ORPHANED)
