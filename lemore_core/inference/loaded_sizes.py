"""The network sizes that are loaded, and those that another thread prepares meanwhile."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

from lemore_core.common.child import stop_children
from lemore_core.common.errors import in_one_line
from lemore_core.inference.backend import Backend

Size = tuple[int, int]

KEPT = 4
# so many images of a size come before it is prepared: an odd one costs nothing
SEEN = 5
JOIN_S = 4.0
POLL_S = 0.05

_log = logging.getLogger(__name__)


class LoadedSizes:
    """The backends of up to ``kept`` sizes (height, width); used from one thread.

    :meth:`get` loads a size at once. :meth:`nearest` loads nothing: it names a size to use
    meanwhile and has the missing one prepared on another thread, one at a time. A size that is
    prepared takes the place of the one that was used longest ago, and only if that was not used
    since the last ``SEEN`` images of the new size began to come.
    """

    def __init__(self, load: Callable[[Size], Backend]) -> None:
        self.kept = KEPT
        self._load = load
        self._images = 0
        self._seen: dict[Size, deque[int]] = defaultdict(lambda: deque(maxlen=SEEN))
        self._loaded: dict[Size, Backend] = {}
        self._refused: dict[Size, str] = {}
        self._preparation: Preparation | None = None

    def __getitem__(self, size: Size) -> Backend:
        """Return the backend of a size that is loaded."""
        return self._loaded[size]

    def get(self, size: Size) -> Backend:
        """Return the backend of a size, loaded at once where it is not yet.

        Raises:
            LemoreError: it cannot be loaded.
        """
        if size not in self._loaded:
            while len(self._loaded) >= self.kept:
                self._drop(self._oldest())
            self._loaded[size] = self._load(size)
        self._note(size)
        return self._loaded[size]

    def update(self) -> None:
        """Take over what has been prepared."""
        ready = self._preparation
        if ready is None or ready.is_running:
            return
        self._preparation = None
        if ready.backend is None:
            self._refused[ready.size] = ready.failure
        elif self._has_room(ready.size):
            if len(self._loaded) >= self.kept:
                self._drop(self._oldest())
            self._loaded[ready.size] = ready.backend
        else:
            # the one that it was to replace came into use again
            ready.backend.close()

    def nearest(self, size: Size) -> Size:
        """Return ``size`` where it is loaded, else the loaded one of the nearest aspect."""
        self._note(size)
        if size not in self._loaded:
            self._prepare(size)
        return min(self._loaded, key=lambda loaded: _distance(loaded, size))

    def why_missing(self, size: Size) -> str:
        """Say why a size is not loaded yet; empty while it is being prepared."""
        if self._preparation is not None and self._preparation.size == size:
            return ''
        if size in self._refused:
            return self._refused[size]
        if not self._has_room(size):
            return f'{len(self._loaded)} other sizes are in use'
        return 'others come first' if len(self._seen[size]) == SEEN else 'few images of it came'

    def close(self) -> None:
        """Stop what is being prepared, and let go of the backends."""
        preparation, self._preparation = self._preparation, None
        if preparation is not None:
            preparation.stop()
        for size in list(self._loaded):
            self._drop(size)

    def _note(self, size: Size) -> None:
        self._images += 1
        self._seen[size].append(self._images)

    def _prepare(self, size: Size) -> None:
        wanted = len(self._seen[size]) == SEEN and size not in self._refused
        if wanted and self._preparation is None and self._has_room(size):
            self._preparation = Preparation(size, self._load)

    def _has_room(self, size: Size) -> bool:
        if len(self._loaded) < self.kept:
            return True
        seen, oldest = self._seen[size], self._oldest()
        return len(seen) == SEEN and self._seen[oldest][-1] < seen[0]

    def _oldest(self) -> Size:
        return min(self._loaded, key=lambda size: self._seen[size][-1])

    def _drop(self, size: Size) -> None:
        self._loaded.pop(size).close()


class Preparation:
    """The loading of one size on a thread of its own; once it ends, ``backend`` or ``failure``."""

    def __init__(self, size: Size, load: Callable[[Size], Backend]) -> None:
        self.size = size
        self.backend: Backend | None = None
        self.failure = ''
        self._load = load
        self._stopped = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name='lemore_sizes', daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether there is no outcome yet."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the processes that the loading has started, and let go of what it loads."""
        with self._lock:
            self._stopped = True
            backend, self.backend = self.backend, None
        if backend is not None:
            backend.close()
        deadline = time.monotonic() + JOIN_S
        while self._thread.is_alive() and time.monotonic() < deadline:
            stop_children(self._thread)
            self._thread.join(POLL_S)

    def _run(self) -> None:
        height, width = self.size
        try:
            backend = self._load(self.size)
        except Exception as error:  # noqa: BLE001 - whatever it is, other sizes go on
            self.failure = in_one_line(error)
            if not self._stopped:
                _log.warning(
                    'the network cannot be loaded for %dx%d: %s', width, height, self.failure
                )
            return
        with self._lock:
            if not self._stopped:
                self.backend = backend
                return
        backend.close()


def _distance(a: Size, b: Size) -> tuple[float, int]:
    aspects = [width / height for height, width in (a, b)]
    return abs(math.log(aspects[0] / aspects[1])), abs(a[0] * a[1] - b[0] * b[1])
