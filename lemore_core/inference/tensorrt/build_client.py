"""The process that builds an engine, from the side of who waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress

from lemore_core.inference.backend import BackendError
from lemore_core.inference.tensorrt.build_protocol import (
    BuildRequest,
    Failure,
    Progress,
    news_from_line,
)
from lemore_core.inference.tensorrt.engine_cache import EngineKey
from lemore_core.system.child_env import same_modules

MODULE = 'lemore_core.inference.tensorrt.build_worker'
TERMINATE_S = 2.0
TAIL = 4096


class EngineBuild:
    """A running build; it ends with this process, however that ends.

    Raises:
        OSError: no process can be started.

    """

    def __init__(self, order: BuildRequest) -> None:
        # no pipe: nobody would empty it
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - see close
        self._process = subprocess.Popen(
            [sys.executable, '-m', MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=same_modules(),
            text=True,
        )
        self._order = order

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def wait(self, on_progress: Callable[[Progress], None]) -> EngineKey:
        """Wait until the engine is in the cache, and return its key.

        Raises:
            BackendError: there is no engine, for the reason given.

        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it ended: how, is seen below
            # left open, because the process ends with it
            self._process.stdin.write(self._order.to_line())
            self._process.stdin.flush()
        for line in self._process.stdout:
            news = news_from_line(line)
            if isinstance(news, Progress):
                on_progress(news)
            elif isinstance(news, Failure):
                raise BackendError(news.reason)
            else:
                return news
        raise BackendError(self._end())

    def stop(self) -> None:
        """End the process, if it still runs; may be called from any thread."""
        self._process.terminate()
        try:
            self._process.wait(TERMINATE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End the process, if it still runs, and let go of what belongs to it."""
        self.stop()
        self._errors.close()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # the order may still lie in it
                pipe and pipe.close()

    def _end(self) -> str:
        code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            hint = ' (does the memory suffice?)' if -code == signal.SIGKILL else ''
            return f'the process that built it was ended by {name}{hint}'
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - TAIL))
        last = self._errors.read().decode(errors='replace').strip().splitlines()[-1:]
        return ': '.join([f'the process that built it ended with code {code}', *last])
