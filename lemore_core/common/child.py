"""Run a Python module in another process, which reports JSON objects on its standard output.

A module that is given an order calls :func:`serve_parent` and ends with its parent, however that
ends; one that is given arguments calls :func:`report` until it is stopped.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from multiprocessing import util
from pathlib import Path
from typing import IO, Any

from lemore_core.common.errors import LemoreError, in_one_line

STOP_S = 10.0
TAIL_BYTES = 4096
ORPHANED = 2
# no file of the current folder is taken for a module
SAFE, KNOWS_SAFE = 'PYTHONSAFEPATH', sys.version_info >= (3, 11)
DROP_CURRENT = 'import sys; sys.path[:] = filter(None, sys.path); '
RUN = f'{DROP_CURRENT}from runpy import *; run_module(sys.argv.pop(1), None, "__main__", True)'

_start: Any = util.spawnv_passfds

# the running children, by the thread that started each
_running: weakref.WeakKeyDictionary[Child, threading.Thread] = weakref.WeakKeyDictionary()


class ChildError(LemoreError):
    """A child process failed; ``kind`` is the type of its exception, empty if it has none."""

    def __init__(self, message: str, kind: str = '') -> None:
        super().__init__(message)
        self.kind = kind


class Child(AbstractContextManager['Child']):
    """A Python module in another process, which can import what this process can.

    ``order`` goes to :func:`serve_parent`, ``arguments`` are the command line, ``log`` is the file of
    its standard error, and ``values`` has the newest value of every key that it reported.
    """

    def __init__(
        self,
        module: str,
        order: Mapping[str, Any] | None = None,
        *,
        arguments: Sequence[str] = (),
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self.values: dict[str, Any] = {}
        self._module = module
        self._has_order = order is not None
        # no pipe: it would fill up unread
        self._errors = log.open('w+b') if log else tempfile.TemporaryFile()  # noqa: SIM115
        modules = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, *(['-m'] if KNOWS_SAFE else ['-c', RUN]), module, *arguments],
            stdin=subprocess.PIPE if self._has_order else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **(environment or {}), 'PYTHONPATH': modules, SAFE: '1'},
            text=True,
            # a group of its own is ended whole, and Ctrl-C in a terminal is for the parent
            start_new_session=self._has_order,
        )
        given = self._process.stdout, self.values
        self._reader = threading.Thread(target=_read, args=given, daemon=True)
        self._reader.start()
        # last: from now on stop_children may stop it
        _running[self] = threading.current_thread()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended already
                # left open: the child ends when this end closes
                self._process.stdin.write(json.dumps(order, default=str) + '\n')
                self._process.stdin.flush()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def result(self) -> dict[str, Any]:
        """Wait for the end and return the values, see :meth:`check`."""
        self._process.wait()
        self._reader.join()
        self.check()
        return self.values

    def check(self) -> None:
        """Raise the failure with which the process ended: its exception, or its log's last line."""
        code = self._process.poll()
        if not code:
            return
        if 'failed' in self.values:
            raise ChildError(self.values['failed'], self.values['kind'])
        if code < 0:
            hint = ' (is there enough memory?)' if -code == signal.SIGKILL else ''
            msg = f'the process {self._module} was ended by {signal.Signals(-code).name}{hint}'
            raise ChildError(msg)
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - TAIL_BYTES))
        last = self._errors.read().decode(errors='replace').strip().splitlines()[-1:]
        log = f', see {self.log}' if self.log else ''
        msg = ': '.join([f'the process {self._module} ended with code {code}{log}', *last])
        raise ChildError(msg)

    def stop(self) -> None:
        """End the process and read its remaining output; may be called from any thread."""
        kill = os.killpg if self._has_order else os.kill
        for number in (signal.SIGTERM, signal.SIGKILL):
            # it may have ended a moment ago
            with suppress(subprocess.TimeoutExpired, ProcessLookupError):
                if not self.ended:
                    kill(self.pid, number)
                self._process.wait(STOP_S)
        self._reader.join(STOP_S)

    def close(self) -> None:
        """End the process and close its files."""
        self.stop()
        _running.pop(self, None)
        self._errors.close()
        if self._process.stdin is not None:
            with suppress(OSError):  # the order may still lie in it
                self._process.stdin.close()


def worker_processes() -> Any:
    """Return multiprocessing with processes that import no files of the current folder."""
    os.environ[SAFE] = '1'
    if not KNOWS_SAFE:
        util.spawnv_passfds = _start_safely  # type: ignore[assignment]
    # forked processes would copy locks that other threads hold
    return multiprocessing.get_context('spawn')


def _start_safely(path: Any, command: Sequence[str], handles: Any) -> Any:
    place = command.index('-c') + 1
    safe = [*command[:place], DROP_CURRENT + command[place], *command[place + 1 :]]
    return _start(path, safe, handles)


def stop_children(thread: threading.Thread) -> None:
    """End the children that a thread started: where it waits for one, a ChildError is raised."""
    for child, owner in list(_running.items()):
        if owner is thread:
            child.stop()


def report(**values: Any) -> None:
    """Send ``values`` to the parent process."""
    print(json.dumps(values), flush=True)


def serve_parent(work: Callable[[dict[str, Any]], Mapping[str, Any] | None]) -> int:
    """Do the parent's order, report what ``work`` returns or raises, and return the exit code."""
    output = os.dup(1)
    os.dup2(2, 1)  # for what libraries print
    # unbuffered: _end_with_input reads the rest
    with open(0, 'rb', buffering=0, closefd=False) as given:
        order = json.loads(given.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        answer = work(order) or {}
    except Exception as error:  # noqa: BLE001 - the parent raises it
        answer = {'failed': in_one_line(error), 'kind': type(error).__name__}
    with suppress(BrokenPipeError):  # the parent has ended
        os.write(output, f'{json.dumps(answer)}\n'.encode())
    return int('failed' in answer)


def _end_with_input() -> None:
    while os.read(0, 1024):
        pass
    os._exit(ORPHANED)


def _read(output: IO[str], values: dict[str, Any]) -> None:
    with output:
        for line in output:
            with suppress(ValueError):  # others print there too
                found = json.loads(line)
                if isinstance(found, dict):
                    values.update(found)
