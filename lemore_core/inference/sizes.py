"""Choose the network size for an image, and load and keep the backends of several sizes."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

from lemore_core.common.child import stop_children
from lemore_core.common.errors import in_one_line
from lemore_core.inference.backend import Backend

Size = tuple[int, int]

MULTIPLE = 64
LONGEST_SIDE = 2048
SAME_ASPECT = 0.01
KEPT = 4
JOIN_S = 4.0
LOADING = 'loading'
POLL_S = 0.05

_log = logging.getLogger(__name__)


def network_size(trained: Size, image: Size) -> Size:
    """Return (height, width) for images of size ``image``, given the size trained at.

    The image keeps its aspect, since the network was trained without padding or squashing: the
    trained size for the trained aspect, else the multiples of 64 nearest to the image's aspect and
    the trained number of pixels.
    """
    height, width = trained
    aspect = image[1] / image[0]
    if abs(aspect / (width / height) - 1) <= SAME_ASPECT:
        return trained
    ideal = (height * width / aspect) ** 0.5
    return _round(ideal), _round(ideal * aspect)


class LoadedSizes:
    """Backends of the ``kept`` last used sizes (height, width); for one thread.

    :meth:`get` loads a missing size at once. :meth:`nearest` loads it on another thread, one size
    at a time, and returns a loaded one meanwhile: for CPUs only, since one thread owns a GPU.
    """

    def __init__(self, load: Callable[[Size], Backend]) -> None:
        self.kept = KEPT
        self._load = load
        # the last used stands last
        self._loaded: dict[Size, Backend] = {}
        self._refused: dict[Size, str] = {}
        self._loading: _Loading | None = None

    def get(self, size: Size) -> Backend:
        """Return the backend of a size, loaded if missing."""
        backend = self._loaded.pop(size, None)
        if backend is None:
            started = time.monotonic()
            backend = self._load(size)
            height, width = size
            _log.info('network %dx%d loaded in %.1f s', width, height, time.monotonic() - started)
        self.put(size, backend)
        return backend

    def put(self, size: Size, backend: Backend) -> None:
        """Keep a backend in place of the one used longest ago."""
        former = self._loaded.pop(size, None)
        if former is not None:
            former.close()
        while len(self._loaded) >= self.kept:
            self._loaded.pop(next(iter(self._loaded))).close()
        self._loaded[size] = backend

    def nearest(self, size: Size) -> tuple[Size, str]:
        """Return ``size`` if loaded, else the loaded one of the nearest aspect, and the reason."""
        if self._loading is not None and not self._loading.is_alive():
            self._take_over(self._loading)
        if size in self._loaded:
            return size, ''
        if self._loading is None and size not in self._refused:
            self._loading = _Loading(size, self._load)
            self._loading.start()
        reason = self._refused.get(size) or (
            LOADING if self._loading and self._loading.size == size else 'waiting for another size'
        )
        return min(self._loaded, key=lambda loaded: _distance(loaded, size)), reason

    def close(self) -> None:
        """Stop the loading and close every backend."""
        loading, self._loading = self._loading, None
        if loading is not None:
            loading.stop()
        for size in list(self._loaded):
            self._loaded.pop(size).close()

    def _take_over(self, loading: _Loading) -> None:
        self._loading = None
        if loading.backend is None:
            (height, width), reason = loading.size, loading.failure
            self._refused[loading.size] = reason
            _log.warning('network %dx%d cannot be loaded: %s', width, height, reason)
        else:
            self.put(loading.size, loading.backend)


class _Loading(threading.Thread):
    """The loading of one size; ends with ``backend`` or ``failure``."""

    def __init__(self, size: Size, load: Callable[[Size], Backend]) -> None:
        super().__init__(name='lemore_sizes', daemon=True)
        self.size = size
        self.backend: Backend | None = None
        self.failure = ''
        self._load = load

    def run(self) -> None:
        """Load the size."""
        try:
            self.backend = self._load(self.size)
        except Exception as error:  # noqa: BLE001 - the loaded sizes still serve
            self.failure = in_one_line(error)

    def stop(self) -> None:
        """End the export that the loading waits for."""
        deadline = time.monotonic() + JOIN_S
        while self.is_alive() and time.monotonic() < deadline:
            stop_children(self)
            self.join(POLL_S)


def _round(side: float) -> int:
    return min(max(round(side / MULTIPLE), 1) * MULTIPLE, LONGEST_SIDE)


def _distance(a: Size, b: Size) -> tuple[float, int]:
    aspects = [width / height for height, width in (a, b)]
    return abs(math.log(aspects[0] / aspects[1])), abs(a[0] * a[1] - b[0] * b[1])
