"""Choose the network size for an image, and load and keep the backends of several sizes."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache

from lemore_core.common.child import stop_children
from lemore_core.common.errors import in_one_line
from lemore_core.common.memory import trim_memory
from lemore_core.inference.backend import Backend

Size = tuple[int, int]

MULTIPLE = 32  # the network's coarsest stride
LONGEST_SIDE = 2048
SAME_ASPECT = 0.03
STRETCH_WEIGHT = 4  # against the number of pixels: stretch costs accuracy, pixels only time
KEPT = 4
JOIN_S = 4.0
LOADING = 'loading'
POLL_S = 0.05

_log = logging.getLogger(__name__)


@lru_cache
def network_size(trained: Size, image: Size) -> Size:
    """Return (height, width) for images of size ``image``, given the size trained at.

    The image keeps its aspect, since the network was trained without padding or squashing: the
    trained size for aspects within 3% of its own, else the multiples of 32 that stretch the image
    least for about the trained number of pixels: the least of 4 |log aspect| + |log pixels|.
    """
    aspect, pixels = image[1] / image[0], math.prod(trained)
    if abs(aspect * trained[0] / trained[1] - 1) <= SAME_ASPECT:
        return trained

    def cost(size: Size) -> float:
        stretch, growth = size[1] / size[0] / aspect, math.prod(size) / pixels
        return STRETCH_WEIGHT * abs(math.log(stretch)) + abs(math.log(growth))

    sides = range(MULTIPLE, LONGEST_SIDE + 1, MULTIPLE)
    nearest = [(rows, int(rows * aspect / MULTIPLE) + more) for rows in sides for more in (0, 1)]
    return min(((rows, sides[min(max(n, 1), len(sides)) - 1]) for rows, n in nearest), key=cost)


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
        self._announced: set[Size] = set()
        self._loading: tuple[Size, threading.Thread, Future[Backend]] | None = None

    def get(self, size: Size) -> Backend:
        """Return the backend of a size, loaded if missing."""
        backend = self._loaded.pop(size, None)
        if backend is None:
            started = time.monotonic()
            backend = self._load(size)
            _log.info('network %dx%d loaded in %.1f s', *size[::-1], time.monotonic() - started)
        self.put(size, backend)
        return backend

    def put(self, size: Size, backend: Backend) -> None:
        """Keep a backend in place of the one used longest ago."""
        if size in self._loaded:
            self._loaded.pop(size).close()
        while len(self._loaded) >= self.kept:
            self._loaded.pop(next(iter(self._loaded))).close()
            # else each exchange leaves holes of its own
            trim_memory()
        self._loaded[size] = backend

    def nearest(self, size: Size) -> tuple[Size, str]:
        """Return ``size`` if loaded, else the loaded one of the nearest aspect, and the reason."""
        self._take_loaded()
        if size in self._loaded:
            return size, ''
        if self._loading is None and size not in self._refused:
            found: Future[Backend] = Future()
            thread = threading.Thread(target=_fulfil, args=(found, self._load, size), daemon=True)
            self._loading = size, thread, found
            thread.start()
        is_loading = self._loading is not None and self._loading[0] == size
        reason = self._refused.get(size) or (LOADING if is_loading else 'waiting for another size')
        return min(self._loaded, key=lambda loaded: _distance(loaded, size)), reason

    def close(self) -> None:
        """Stop the loading and close every backend."""
        if self._loading is not None:
            _, thread, _ = self._loading
            deadline = time.monotonic() + JOIN_S
            while thread.is_alive() and time.monotonic() < deadline:
                # it may wait for an export
                stop_children(thread)
                thread.join(POLL_S)
            self._loading = None
        for size in list(self._loaded):
            self._loaded.pop(size).close()

    def _take_loaded(self) -> None:
        if self._loading is None or not self._loading[2].done():
            return
        size, _, found = self._loading
        self._loading = None
        try:
            self.put(size, found.result())
            if size not in self._announced:  # several may come in turn
                self._announced.add(size)
                _log.info('network %dx%d is ready', *size[::-1])
        except Exception as error:  # noqa: BLE001 - the loaded sizes still serve
            self._refused[size] = reason = in_one_line(error)
            _log.warning('network %dx%d cannot be loaded: %s', *size[::-1], reason)


def _fulfil(found: Future[Backend], load: Callable[[Size], Backend], size: Size) -> None:
    try:
        found.set_result(load(size))
    except Exception as error:  # noqa: BLE001 - raised by the other thread
        found.set_exception(error)


def _distance(a: Size, b: Size) -> tuple[float, int]:
    return abs(math.log(a[1] / a[0] / (b[1] / b[0]))), abs(a[0] * a[1] - b[0] * b[1])
