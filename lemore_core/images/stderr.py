"""Hold what image libraries write to standard error: a line for each damaged image, past any log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock

# libpng, libjpeg and OpenCV
HELD = (
    *(b'libpng ', b'Corrupt JPEG data', b'Premature end of JPEG', b'Inconsistent progression'),
    *(b'Invalid SOS parameters', b'Warning: unknown JFIF', b'Unknown Adobe color', b'[ WARN:'),
    b'[ERROR:',
)


class _StandardError:
    """Standard error of the process, which several threads may hold at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holders, self._own = 0, -1
        self._pipe: tuple[int, int] | None = None

    @contextmanager
    def hold(self) -> Iterator[None]:
        with self._lock, suppress(OSError):  # it may be closed
            if not self._holders:
                self._pipe = self._pipe or os.pipe()
                # what is too much is dropped: nobody reads before the image is decoded
                os.set_blocking(self._pipe[0], False)
                os.set_blocking(self._pipe[1], False)
                self._own = os.dup(2)
                os.dup2(self._pipe[1], 2)
            self._holders += 1
        try:
            yield
        finally:
            with self._lock, suppress(OSError):
                self._release()

    def _release(self) -> None:
        if not (self._holders and self._pipe):
            return
        self._holders -= 1
        if not self._holders:
            os.dup2(self._own, 2)
        with suppress(BlockingIOError):
            written = os.read(self._pipe[0], 2**20)
            # other threads write there too
            lines = [line for line in written.splitlines(True) if not line.startswith(HELD)]
            os.write(self._own, b''.join(lines))
        if not self._holders:
            os.close(self._own)


hold_stderr = _StandardError().hold
