"""From images on the host to labels on the host, over one device that does all in between."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lemore_core.image import Image
from lemore_core.inference.backend import BackendError, Status
from lemore_core.inference.gpu.errors import free_unused, guarded
from lemore_core.inference.gpu.graph_plan import DevicePlan, Kind, Network
from lemore_core.inference.gpu.stream import DeviceStream
from lemore_core.segmentation import STEPS, Segmentation, Timings

PLANS_KEPT = 8
# Copies to and from pinned memory are what the host does, and one core does not fill the bus.
COPIERS = 4

T = TypeVar('T')


class _Run(NamedTuple):
    """Images, by their places in the caller's list, that a plan is at work on."""

    plan: DevicePlan
    stream: DeviceStream
    places: list[int]
    started: float


class GpuPipeline:
    """A backend whose images are resized, run and decoded on the device of ``status``.

    ``network`` maps RGB (batch, height, width, 3) uint8 on the device, for ``size`` (height,
    width) and the batch of ``status``, to logits (batch, h, w, classes) float32 or float16. It
    queues its work on PyTorch's current stream, waits for nothing and keeps nothing, so that it
    can be recorded in a CUDA graph.

    Images of one size and encoding run together. While the GPU works on a batch, the next one
    is uploaded and the last one read, on ``lanes`` streams by turns: more than one needs a network
    that can run on several at once. The ``plans_kept`` kinds of images that came last are kept
    ready.
    """

    def __init__(
        self,
        network: Network,
        size: tuple[int, int],
        status: Status,
        *,
        lanes: int = 1,
        plans_kept: int = PLANS_KEPT,
    ) -> None:
        self.status = status
        self._network = network
        self._size = size
        self._device = torch.device(status.device)
        self._streams = [DeviceStream(self._device) for _ in range(lanes)]
        self._streams[0].wait_for_others()  # which brought the network's weights there
        self._plans: dict[tuple[Kind, int], DevicePlan] = {}
        self._plans_kept = plans_kept
        self._copiers = ThreadPoolExecutor(COPIERS) if status.batch > 1 else None

    def segment(self, images: Sequence[Image]) -> list[Segmentation]:
        """Label images of any sizes and encodings, as many at a time as there is room for.

        Raises:
            DeviceMemoryError: the device is full; it is given back what it held.
            BackendError: the device failed.

        """
        if not images:
            return []
        return self._guarded(lambda: self._segment(images), Kind.of(images[0]))

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
        """Return the median milliseconds of each step, run one by one without a CUDA graph.

        ``images`` are of one kind, and no more than a batch; the steps are those of
        :data:`~lemore_core.segmentation.STEPS`.

        Raises:
            BackendError: see :meth:`segment`.

        """
        return self._guarded(lambda: self._steps(images, rounds), Kind.of(images[0]))

    def close(self) -> None:
        """Give back the device's memory."""
        self._forget()
        free_unused(self._device)
        if self._copiers is not None:
            self._copiers.shutdown()

    def _segment(self, images: Sequence[Image]) -> list[Segmentation]:
        results: dict[int, Segmentation] = {}
        running: deque[_Run] = deque()
        for number, places in enumerate(self._batches(images)):
            if len(running) == len(self._streams):
                results |= self._collect(running.popleft())
            running.append(self._start(images, places, number % len(self._streams)))
        while running:
            results |= self._collect(running.popleft())
        return [results[place] for place in range(len(images))]

    def _batches(self, images: Sequence[Image]) -> Iterator[list[int]]:
        """Iterate over the places of images that run together."""
        kinds: dict[Kind, list[int]] = {}
        for place, image in enumerate(images):
            kinds.setdefault(Kind.of(image), []).append(place)
        for places in kinds.values():
            for start in range(0, len(places), self.status.batch):
                yield places[start : start + self.status.batch]

    def _start(self, images: Sequence[Image], places: list[int], lane: int) -> _Run:
        started = time.perf_counter()
        batch = [images[place] for place in places]
        plan = self._plan(Kind.of(batch[0]), lane)
        with self._streams[lane].entered():
            plan.start(batch, self._each)
        return _Run(plan, self._streams[lane], places, started)

    def _collect(self, run: _Run) -> dict[int, Segmentation]:
        decoded = run.plan.collect(len(run.places), self._each)
        timings = Timings(1e3 * (time.perf_counter() - run.started))
        return {
            place: Segmentation(*arrays, self._size, timings)
            for place, arrays in zip(run.places, decoded, strict=True)
        }

    def _plan(self, kind: Kind, lane: int) -> DevicePlan:
        plan = self._plans.pop((kind, lane), None)
        if plan is None:
            while len(self._plans) >= self._plans_kept:
                del self._plans[next(iter(self._plans))]
            stream = self._streams[lane]
            with stream.entered():
                plan = DevicePlan(self._network, self._size, kind, self.status.batch, stream)
                stream.wait()
        # the newest stands last, so the first is the one to drop
        self._plans[kind, lane] = plan
        return plan

    def _logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        size = self.status.batch
        parts = []
        with self._streams[0].entered():
            for start in range(0, len(pixels), size):
                part = pixels[start : start + size]
                batch = np.zeros((size, *part.shape[1:]), np.uint8)
                batch[: len(part)] = part
                logits = self._network(torch.from_numpy(batch).to(self._device))[: len(part)]
                # copied: on a CPU this may be memory that the next run overwrites
                parts.append(logits.float().cpu().numpy().copy())
        return np.concatenate(parts)

    def _steps(self, images: Sequence[Image], rounds: int) -> dict[str, float]:
        plan = self._plan(Kind.of(images[0]), 0)
        stream = self._streams[0]
        with stream.entered():
            plan.start(images, self._each)
            times = [_time_steps(plan, stream) for _ in range(rounds)]
        return {step: statistics.median(row[step] for row in times) for step in STEPS}

    def _each(self, function: Callable[[int], Any], count: int) -> list[Any]:
        if self._copiers is None or count == 1:
            return [function(i) for i in range(count)]
        return list(self._copiers.map(function, range(count)))

    def _guarded(self, work: Callable[[], T], kind: Kind) -> T:
        """Do ``work``; if the device fails, start afresh and say why."""
        height, width = self._size
        what = f'{self.status.batch} at a time of images such as {kind}, seen at {width}x{height}'
        return guarded(work, self._device, what, self._forget)

    def _forget(self) -> None:
        """Drop everything on the device but the network."""
        for stream in self._streams:
            with suppress(RuntimeError):  # which is what brought us here
                stream.wait()
        self._plans.clear()


def _time_steps(plan: DevicePlan, stream: DeviceStream) -> dict[str, float]:
    stream.wait()
    steps: list[str] = []
    moments = [stream.now()]

    def mark(step: str) -> None:
        steps.append(step)
        moments.append(stream.now())

    plan.run_by_steps(mark)
    stream.wait()
    return {
        step: after.milliseconds_since(before)
        for step, before, after in zip(steps, moments[:-1], moments[1:], strict=True)
    }
