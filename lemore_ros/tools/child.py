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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lemore_core.errors import LemoreError

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

    def wait_for(self, key: str, timeout_s: float) -> Any:
        """Wait until the child has reported ``key`` and return its value.

        Raises:
            ChildError: the process ended first, or the time is up.

        """
        deadline = time.monotonic() + timeout_s
        while key not in self.poll():
            self.check()
            if self.ended:
                # what it said last may still be on its way
                self._reader.join(STOP_S)
                if key in self.poll():
                    break
            if self.ended or time.monotonic() > deadline:
                msg = f'the {self.name} did not report {key!r} within {timeout_s} s, see {self.log}'
                raise ChildError(msg)
            time.sleep(0.02)
        return self.last[key]

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


def say(**values: Any) -> None:
    """Report ``values`` to the parent process: the other end of :class:`Child`."""
    print(json.dumps(values), flush=True)


def isolated_graph() -> dict[str, str]:
    """Return the variables that keep processes out of a robot's graph, and it out of theirs."""
    return {
        # domains above 101 share their ports with what Linux gives to any socket
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 100),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
