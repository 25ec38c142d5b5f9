"""From images on the host to labels on the host, over one device that does all in between."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lemore_core.images.image import Image
from lemore_core.inference.backend import NOT_FINITE, BackendError, Status
from lemore_core.inference.gpu.errors import free_unused, guarded
from lemore_core.inference.gpu.exclusive import gpu_lock
from lemore_core.inference.gpu.plan import Kind, Network, Plan
from lemore_core.inference.gpu.stream import DeviceStream
from lemore_core.segmentation import STEPS, Segmentation, Timings

PLANS_KEPT = 8

T = TypeVar('T')


class GpuPipeline:
    """A backend whose images are resized, run and decoded on the device of ``status``.

    ``network`` maps RGB (batch, height, width, 3) uint8 on the device, for ``size`` (height,
    width) and the batch of ``status``, to logits (batch, h, w, classes) float32 or float16. It
    queues its work on PyTorch's current stream, waits for nothing and keeps nothing, so that it
    can be captured in a CUDA graph.

    Images of one size and encoding run together. The ``plans_kept`` kinds of images that came
    last are kept ready; the first image of a kind prepares it, on the thread that calls.
    """

    def __init__(
        self,
        network: Network,
        size: tuple[int, int],
        status: Status,
        *,
        plans_kept: int = PLANS_KEPT,
    ) -> None:
        self._status = status
        self._network = network
        self._size = size
        self._device = torch.device(status.device)
        self._stream = DeviceStream(self._device)
        self._stream.wait_for_caller()  # which brought the network's weights there
        self._plans: dict[Kind, Plan] = {}
        self._plans_kept = plans_kept

    @property
    def status(self) -> Status:
        """What was loaded, and what keeps it from doing better at this moment."""
        reasons = filter(None, (self._status.degraded, self._stream.degraded))
        return dataclasses.replace(self._status, degraded='; '.join(reasons))

    def segment(self, images: Sequence[Image]) -> list[Segmentation]:
        """Segment images of any sizes and encodings, as many at a time as there is room for.

        Raises:
            DeviceMemoryError: the device is full; what this pipeline held there is freed.
            GpuContextLostError: the GPU is of no use to this process any more.
            BackendError: the device failed, or the network's logits are not finite.
        """
        if not images:
            return []
        found, are_finite = self._guarded(lambda: self._segment(images), Kind.of(images[0]))
        # raised here: the device is well
        if not are_finite:
            raise BackendError(NOT_FINITE)
        return found

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the network says of RGB (N, height, width, 3) uint8.

        Raises:
            BackendError: the pixels are of another shape, or see :meth:`segment`.
        """
        height, width = self._size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (height, width, 3):
            found = f'{pixels.dtype} {pixels.shape}'
            msg = f'pixels are {found}, they must be uint8 (N, {height}, {width}, 3)'
            raise BackendError(msg)
        return self._guarded(lambda: self._logits(pixels), Kind(*self._size, 'rgb8'))

    def steps(self, images: Sequence[Image], rounds: int = 20) -> dict[str, float]:
        """Return the median milliseconds of each step, waited for without a CUDA graph.

        ``images`` are of one kind, and no more than a batch; the steps are those of
        :data:`~lemore_core.segmentation.STEPS`.

        Raises:
            BackendError: see :meth:`segment`.
        """
        kind = Kind.of(images[0])
        return self._guarded(lambda: self._steps(kind, rounds), kind)

    def close(self) -> None:
        """Free the device's memory.

        Raises:
            GpuContextLostError: nothing can be freed any more.
        """
        self._guarded(self._release, Kind(*self._size, 'rgb8'))

    def _segment(self, images: Sequence[Image]) -> tuple[list[Segmentation], bool]:
        results: dict[int, Segmentation] = {}
        are_finite = True
        for places in self._batches(images):
            started = time.perf_counter()
            batch = [images[place] for place in places]
            plan = self._plan(Kind.of(batch[0]))
            with self._stream.entered():
                decoded = plan.segment(batch)
            timings = Timings(1e3 * (time.perf_counter() - started))
            for place, (labels, confidence, is_finite) in zip(places, decoded, strict=True):
                results[place] = Segmentation(labels, confidence, self._size, timings)
                are_finite &= is_finite
        return [results[place] for place in range(len(images))], are_finite

    def _batches(self, images: Sequence[Image]) -> Iterator[list[int]]:
        """Iterate over the places of images that run together."""
        kinds: dict[Kind, list[int]] = {}
        for place, image in enumerate(images):
            kinds.setdefault(Kind.of(image), []).append(place)
        for places in kinds.values():
            for start in range(0, len(places), self._status.batch):
                yield places[start : start + self._status.batch]

    def _plan(self, kind: Kind) -> Plan:
        plan = self._plans.pop(kind, None)
        if plan is None:
            while len(self._plans) >= self._plans_kept:
                del self._plans[next(iter(self._plans))]
            # pinned memory is allocated, which the whole device waits for
            with gpu_lock, self._stream.entered():
                plan = Plan(self._network, self._size, kind, self._status.batch, self._stream)
        # the newest stands last, so the first is the one to drop
        self._plans[kind] = plan
        return plan

    def _logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        size = self._status.batch
        parts = []
        with self._stream.entered():
            for start in range(0, len(pixels), size):
                part = pixels[start : start + size]
                batch = np.zeros((size, *part.shape[1:]), np.uint8)
                batch[: len(part)] = part
                logits = self._network(torch.from_numpy(batch).to(self._device))[: len(part)]
                # copied: on a CPU this may be memory that the next run overwrites
                parts.append(logits.float().cpu().numpy().copy())
        return np.concatenate(parts)

    def _steps(self, kind: Kind, rounds: int) -> dict[str, float]:
        plan = self._plan(kind)
        with self._stream.entered():
            times = [_time_steps(plan, self._stream) for _ in range(rounds)]
        return {step: statistics.median(row[step] for row in times) for step in STEPS}

    def _guarded(self, work: Callable[[], T], kind: Kind) -> T:
        """Do ``work``; if the device fails, start afresh and say why."""
        height, width = self._size
        what = f'{self._status.batch} at a time of images such as {kind}, seen at {width}x{height}'
        return guarded(work, self._device, what, self._forget)

    def _release(self) -> None:
        self._forget()
        free_unused(self._device)

    def _forget(self) -> None:
        """Drop everything on the device but the network."""
        self._stream.wait()
        self._plans.clear()


def _time_steps(plan: Plan, stream: DeviceStream) -> dict[str, float]:
    times: dict[str, float] = {}
    stream.wait()
    started = time.perf_counter()

    def mark(step: str) -> None:
        nonlocal started
        stream.wait()
        now = time.perf_counter()
        times[step], started = 1e3 * (now - started), now

    plan.run_by_steps(mark)
    return times
