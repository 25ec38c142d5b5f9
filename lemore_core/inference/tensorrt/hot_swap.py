"""A backend that is replaced by an engine once that has been built and checked."""

from __future__ import annotations

import dataclasses
import logging
import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.child import Child
from lemore_core.common.errors import GpuContextLostError, in_one_line
from lemore_core.images.image import Image
from lemore_core.inference.backend import Backend, Status
from lemore_core.inference.tensorrt.build_process import BuildRequest, wait_for_engine
from lemore_core.inference.tensorrt.engine_cache import EngineCache, EngineKey
from lemore_core.segmentation import Segmentation

MIN_FRAMES = 10
CHECKS = 5
AGREEMENT = 0.99
JOIN_S = 5.0

_log = logging.getLogger(__name__)


class EnginePhase(Enum):
    """How far the engine is; each is the first word of ``Status.engine``."""

    WAITING = 'waiting'
    BUILDING = 'building'
    LOADING = 'loading'
    CHECKING = 'checking'
    SERVING = 'serving'
    REJECTED = 'rejected'
    FAILED = 'failed'


@dataclass(frozen=True)
class EngineStatus:
    """A phase with what there is to say of it, and when it began."""

    phase: EnginePhase
    detail: str = ''
    since: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        if self.phase is EnginePhase.BUILDING:
            return f'building, {time.monotonic() - self.since:.0f} s'
        return f'{self.phase.value}{": " if self.gave_up else " "}{self.detail}'.rstrip()

    @property
    def gave_up(self) -> bool:
        """Whether there will be no engine."""
        return self.phase in (EnginePhase.REJECTED, EnginePhase.FAILED)


@dataclass(frozen=True)
class EngineSource:
    """Where an engine comes from: what is built in another process, and who loads it here."""

    order: BuildRequest
    load: Callable[[EngineKey], Backend]


class HotSwapBackend:
    """``serving`` segments until an engine has been built, loaded, and found to give the same labels.

    The build begins when ``min_frames`` images have been labelled, so that a size of which only
    one came costs nothing. The engine labels the images of five
    calls of :meth:`segment` after ``serving`` did, and replaces it before the next if in the
    median 99% of the pixels have the same label: one hard image rejects no engine. Whatever fails
    on the way leaves ``serving`` where it is.
    """

    def __init__(
        self, serving: Backend, source: EngineSource, *, min_frames: int = MIN_FRAMES
    ) -> None:
        self._serving = serving
        self._source = source
        self._frames_left = min_frames
        self._stage = EngineStatus(EnginePhase.WAITING, 'for images')
        self._candidate: Backend | None = None
        self._blank: list[Image] = []  # like those that come
        self._shares: list[float] = []  # of pixels that the candidate labelled the same, by call
        self._build: Child | None = None
        self._key: EngineKey | None = None  # of the engine, from when it is loaded on
        self._closing = threading.Event()
        # of all of the above, which the thread changes, or who asks for the status sees
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._prepare, name='lemore_engine', daemon=True)

    @property
    def status(self) -> Status:
        """What serves, and how far the engine is."""
        with self._lock:
            serving, stage = self._serving, self._stage
        status = serving.status
        reasons = [status.degraded] if status.degraded else []
        if stage.gave_up:
            reasons.append(_degradation(status, stage))
        return dataclasses.replace(status, engine=str(stage), degraded='; '.join(reasons))

    def segment(self, images: Sequence[Image]) -> list[Segmentation]:
        """Label images.

        Raises:
            GpuContextLostError: the engine, if there is one, is in quarantine after it.
            BackendError: see :class:`~lemore_core.inference.backend.Backend`.
        """
        try:
            return self._segment(images)
        except GpuContextLostError as error:
            self._quarantine(error)
            raise

    def _segment(self, images: Sequence[Image]) -> list[Segmentation]:
        found = self._serving.segment(images)
        self._frames_left -= len(images)
        if self._frames_left <= 0 and self._thread.ident is None and not self._closing.is_set():
            self._blank = [Image(np.zeros_like(one.pixels), one.encoding) for one in images]
            self._thread.start()
        if self._candidate is not None and images:
            self._check(self._candidate, images, found)
        return found

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of ``pixels``."""
        return self._serving.logits(pixels)

    def close(self) -> None:
        """Stop the build, and let go of both backends."""
        self._closing.set()
        with self._lock:
            build, self._build = self._build, None
        if build is not None:
            build.stop()
        if self._thread.is_alive():
            # one that loads cannot be stopped: it will let go of what it loaded
            self._thread.join(JOIN_S)
        with self._lock:
            candidate, self._candidate = self._candidate, None
        for backend in (candidate, self._serving):
            if backend is not None:
                _close_quietly(backend)

    def _prepare(self) -> None:
        """Have the engine built and loaded; runs on the thread."""
        try:
            with self._lock:
                if self._closing.is_set():
                    return
                self._build = build = self._source.order.start()
                self._stage = EngineStatus(EnginePhase.BUILDING)
            with build:
                self._key = wait_for_engine(build)
            with self._lock:
                self._stage = EngineStatus(EnginePhase.LOADING)
            candidate = self._load(self._key)
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs the engine only
            if isinstance(error, GpuContextLostError):
                # the next image fails on this as well, where the node can react to it
                self._quarantine(error)
            self._give_up(EnginePhase.FAILED, in_one_line(error))
            return
        with self._lock:
            if not self._closing.is_set():
                self._candidate, self._stage = candidate, EngineStatus(EnginePhase.CHECKING)
                return
        _close_quietly(candidate)

    def _load(self, key: EngineKey) -> Backend:
        """Return the engine, run once for images like those that come: that takes long at first."""
        candidate = self._source.load(key)
        try:
            candidate.segment(self._blank)
        except GpuContextLostError:
            raise
        except Exception:
            _close_quietly(candidate)
            raise
        return candidate

    def _check(
        self, candidate: Backend, images: Sequence[Image], expected: list[Segmentation]
    ) -> None:
        """Compare the candidate's labels; after the last time let it replace the backend, or not."""
        try:
            self._shares.append(_agreement(candidate.segment(images), expected))
        except GpuContextLostError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs the engine only
            self._give_up(EnginePhase.FAILED, in_one_line(error))
            return
        if len(self._shares) < CHECKS:
            return
        same = statistics.median(self._shares)
        if same < AGREEMENT:
            shown = math.floor(1e4 * same) / 100
            kind = self._serving.status.backend
            reason = f'only {shown:.2f}% of its labels are those of {kind}, {AGREEMENT:.0%} must be'
            self._give_up(EnginePhase.REJECTED, reason)
            return
        former = self._serving
        with self._lock:
            self._serving, self._candidate = candidate, None
            self._stage = EngineStatus(EnginePhase.SERVING)
        _log.info('the engine for %s serves, %.2f%% of its labels agree', self._what, 100 * same)
        _close_quietly(former)

    def _quarantine(self, error: GpuContextLostError) -> None:
        """Serve without the engine from the next start on: it may be what broke the GPU."""
        if self._key is not None:
            cache = EngineCache(self._source.order.request.engine_cache)
            cache.quarantine(self._key, in_one_line(error))

    def _give_up(self, phase: EnginePhase, reason: str) -> None:
        stage = EngineStatus(phase, reason)
        with self._lock:
            if self._closing.is_set():
                return
            candidate, self._candidate = self._candidate, None
            self._stage = stage
        _log.warning('%s: %s', self._what, _degradation(self._serving.status, stage))
        if candidate is not None:
            _close_quietly(candidate)

    @property
    def _what(self) -> str:
        request = self._source.order.request
        return f'{request.width}x{request.height}'


def _close_quietly(backend: Backend) -> None:
    try:
        backend.close()
    except Exception as error:  # noqa: BLE001 - what serves now is not concerned
        _log.info('%s did not close: %s', backend.status.backend, in_one_line(error))


def _degradation(status: Status, stage: EngineStatus) -> str:
    return f'{status.backend} serves without an engine ({stage})'


def _agreement(found: list[Segmentation], expected: list[Segmentation]) -> float:
    """Return the share of pixels with the same label."""
    pairs = list(zip(found, expected, strict=True))
    same = sum(np.count_nonzero(a.labels == b.labels) for a, b in pairs)
    return same / sum(b.labels.size for _, b in pairs)
