"""A child process that reports in JSON lines on its standard output."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lemore_core.common.errors import LemoreError

STOP_S = 10.0
LOG_LINES = 15


class ChildError(LemoreError):
    """A child process that died, or did not say in time what it was waited for."""


class Child:
    """A Python module run in a process of its own, its standard error in a log file.

    ``name`` is what errors call it. Used as a context manager, it is stopped on the way out.
    """

    def __init__(
        self, name: str, module: str, arguments: Sequence[str], log: Path, env: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        self.last: dict[str, Any] = {}
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with log.open('wb') as stderr:
            self._process = subprocess.Popen(
                [sys.executable, '-m', module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **env},
                text=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Child:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def poll(self) -> dict[str, Any]:
        """Take in what the child has said and return the newest value of every key."""
        while not self._lines.empty():
            self.last.update(self._lines.get())
        return self.last

    @property
    def ended(self) -> bool:
        """Whether the process is over."""
        return self._process.poll() is not None

    def check(self) -> None:
        """Raise if the process ended with a failure.

        Raises:
            ChildError: with the end of its log.
        """
        status = self._process.poll()
        if status:
            tail = '\n'.join(self.log.read_text(errors='replace').splitlines()[-LOG_LINES:])
            msg = f'the {self.name} ended with status {status}, {self.log} says:\n{tail}'
            raise ChildError(msg)

    def stop(self) -> None:
        """Interrupt the process, kill it if that does not end it, and take in its last words."""
        if not self.ended:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(STOP_S)
        self.poll()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                self._lines.put(value)


def wait_until(
    condition: Callable[[], object], timeout_s: float, what: str, children: Iterable[Child]
) -> None:
    """Wait for a condition while the children run well; ``what`` says it in an error.

    Raises:
        ChildError: a child failed, or the time is up.
    """
    deadline = time.monotonic() + timeout_s
    children = list(children)
    while not condition():
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            logs = ', '.join(str(child.log) for child in children)
            msg = f'{what}: not within {timeout_s:.0f} s, see {logs}'
            raise ChildError(msg)
        time.sleep(0.02)


def say(**values: Any) -> None:
    """Report ``values`` to the parent process: the other end of :class:`Child`."""
    print(json.dumps(values), flush=True)


def isolated_graph() -> dict[str, str]:
    """Return the variables that keep processes out of a robot's graph, and it out of theirs."""
    return {
        # domains above 101 share their ports with what Linux gives to any socket
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 50),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
