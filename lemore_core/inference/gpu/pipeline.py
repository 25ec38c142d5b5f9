"""Segment images of the host on one device."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lemore_core.common.errors import GpuContextLostError
from lemore_core.images.image import Image
from lemore_core.inference.backend import (
    NOT_FINITE,
    BackendError,
    DeviceMemoryError,
    ImageKind,
    Status,
)
from lemore_core.inference.gpu.errors import free_unused, guarded
from lemore_core.inference.gpu.plan import Network, Plan
from lemore_core.inference.gpu.stream import DeviceStream
from lemore_core.segmentation import Segmentation, Timings

PLANS_KEPT = 16

T = TypeVar('T')

_log = logging.getLogger(__name__)


class GpuPipeline:
    """A backend whose images are resized, run and decoded on the device of ``status``.

    ``network`` maps RGB (N, height, width, 3) uint8 on the device, for ``size`` (height, width)
    and N up to the batch of ``status`` (exactly that with ``is_fixed``), to logits (N, h, w,
    classes) float32 or float16. It queues its work on PyTorch's current stream and neither waits
    nor keeps anything, so that it can be captured in a CUDA graph.

    Images of one size and encoding run together, 1, 2, 4 … at a time; the first of a kind prepares
    its plan. A batch that finds no memory is halved. ``on_lost`` is called if the GPU's context is
    lost. Loading, segmenting and closing happen on one thread.
    """

    def __init__(
        self,
        network: Network,
        size: tuple[int, int],
        status: Status,
        *,
        is_fixed: bool = False,
        on_lost: Callable[[GpuContextLostError], None] = lambda _: None,
    ) -> None:
        self.status = status
        self._network = network
        self._size = size
        self._is_fixed = is_fixed
        self._on_lost = on_lost
        self._device = torch.device(status.device)
        self._stream = DeviceStream(self._device)
        # the last used stands last
        self._plans: dict[tuple[ImageKind, int], Plan] = {}
        self._reasons = {'loading': status.degraded}

    def prepare(self, kind: ImageKind | None) -> None:
        """Segment a full batch of black images, by default of twice the network's size."""
        height, width = self._size
        kind = kind or ImageKind(2 * height, 2 * width, 'bgr8')
        self.segment([kind.black()] * self.status.batch)

    def segment(self, images: Sequence[Image]) -> list[Segmentation]:
        """Segment images of any sizes and encodings, up to a batch at a time."""
        if not images:
            return []
        is_first = True
        while True:
            try:
                found, are_finite = self._guarded(
                    lambda: self._segment(images), ImageKind.of(images[0])
                )
                break
            except DeviceMemoryError as error:
                # all but the network was freed, so the same may fit now
                if not is_first and not self._halve(error):
                    raise
                is_first = False
        # raised here: the device is well
        if not are_finite:
            raise BackendError(NOT_FINITE)
        return found

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of RGB (N, height, width, 3) uint8."""
        return self._guarded(lambda: self._logits(pixels), ImageKind(*self._size, 'rgb8'))

    def close(self) -> None:
        """Free the device's memory."""
        self._guarded(self._release, ImageKind(*self._size, 'rgb8'))

    def _segment(self, images: Sequence[Image]) -> tuple[list[Segmentation], bool]:
        kinds: dict[ImageKind, list[int]] = {}
        for place, image in enumerate(images):
            kinds.setdefault(ImageKind.of(image), []).append(place)
        results: dict[int, Segmentation] = {}
        are_finite, full = True, self.status.batch
        for kind, all_places in kinds.items():
            for start in range(0, len(all_places), full):
                places = all_places[start : start + full]
                started = time.perf_counter()
                with self._stream.entered():
                    plan = self._plan(kind, self._batch_for(len(places)))
                    decoded = plan.segment([images[place] for place in places])
                timings = Timings(1e3 * (time.perf_counter() - started))
                for place, (labels, confidence, is_finite) in zip(places, decoded, strict=True):
                    results[place] = Segmentation(labels, confidence, self._size, timings)
                    are_finite &= is_finite
        return [results[place] for place in range(len(images))], are_finite

    def _batch_for(self, count: int) -> int:
        """Return the smallest of 1, 2, 4 … that holds ``count`` images, at most a full batch."""
        full = self.status.batch
        return full if self._is_fixed else min(1 << (count - 1).bit_length(), full)

    def _plan(self, kind: ImageKind, batch: int) -> Plan:
        plan = self._plans.pop((kind, batch), None)
        if plan is None:
            while len(self._plans) >= PLANS_KEPT:
                del self._plans[next(iter(self._plans))]
            plan = Plan(self._network, self._size, kind, batch, self._stream)
            self._degrade('graphs', self._stream.degraded)
        self._plans[kind, batch] = plan
        return plan

    def _halve(self, error: DeviceMemoryError) -> bool:
        """Halve a batch of several images; return whether it was."""
        if self._is_fixed or self.status.batch == 1:
            return False
        half = self.status.batch // 2
        _log.warning('serving batches of %d instead of %d: %s', half, self.status.batch, error)
        self.status = dataclasses.replace(self.status, batch=half)
        self._degrade('batch', f'batches of {half} because {error}')
        return True

    def _degrade(self, cause: str, reason: str) -> None:
        self._reasons[cause] = reason
        degraded = '; '.join(filter(None, self._reasons.values()))
        self.status = dataclasses.replace(self.status, degraded=degraded)

    def _logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts, size = [], self.status.batch
        with self._stream.entered():
            for start in range(0, len(pixels), size):
                part = pixels[start : start + size]
                batch = np.zeros((size, *part.shape[1:]), np.uint8)
                batch[: len(part)] = part
                logits = self._network(torch.from_numpy(batch).to(self._device))[: len(part)]
                # copied: an engine overwrites its output
                parts.append(logits.float().cpu().numpy().copy())
        return np.concatenate(parts)

    def _guarded(self, work: Callable[[], T], kind: ImageKind) -> T:
        """Do ``work``; if the device fails, drop the plans and raise the reason."""
        height, width = self._size
        what = f'{self.status.batch} images of {kind}, network {width}x{height}'
        try:
            return guarded(work, self._device, what, self._forget)
        except GpuContextLostError as error:
            self._on_lost(error)
            raise

    def _release(self) -> None:
        self._forget()
        free_unused(self._device)

    def _forget(self) -> None:
        """Free everything on the device but the network."""
        self._stream.wait()
        self._plans.clear()
