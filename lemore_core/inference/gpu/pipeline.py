"""Segment images of the host on one device."""

from __future__ import annotations

import dataclasses
import logging
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lemore_core.common.errors import GpuContextLostError
from lemore_core.images.image import CHANNELS, Image
from lemore_core.inference.backend import (
    NOT_FINITE,
    BackendError,
    DeviceMemoryError,
    ImageKind,
    Status,
    outputs_of,
)
from lemore_core.inference.gpu.decode import decode
from lemore_core.inference.gpu.errors import first_line, free_unused, guarded, is_out_of_memory
from lemore_core.inference.gpu.resize import DeviceResize
from lemore_core.segmentation import Segmentation, Timings

PLANS_KEPT = 16
IN_FLIGHT = 2  # the host copies a batch while the device runs the one before
WARM_UPS = 3
# since torch 2.8, and before it
END_ALLOCATION = ('_cuda_endAllocateToPool', '_cuda_endAllocateCurrentStreamToPool')

Network = Callable[[Tensor], Tensor | tuple[Tensor, ...]]
# waits for a batch, and returns its results and whether all its logits were finite
Finish = Callable[[], tuple[list[Segmentation], bool]]
T = TypeVar('T')

_log = logging.getLogger(__name__)


class GpuPipeline:
    """A backend whose images are resized, run and decoded on the device of ``status``.

    ``network`` maps RGB (N, height, width, 3) uint8 on the device, for ``size`` (height, width)
    and N up to the batch of ``status`` (exactly that with ``is_fixed``), to logits (N, h, w,
    classes) float32 or float16, or to them and descriptors (N, n) float32. It queues its work on PyTorch's current stream and neither waits
    nor keeps anything, so that it can be captured in a CUDA graph.

    Images of one size and encoding run together, 1, 2, 4 … at a time; the first of a kind prepares
    its plan. A batch that finds no memory is halved. ``on_lost`` is called if the GPU's context is
    lost. One thread at a time loads, segments and closes it.
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

    def prepare(self, kind: ImageKind | None) -> GpuPipeline:
        """Segment a full batch of black images, by default of twice the network's size."""
        height, width = self._size
        kind = kind or ImageKind(2 * height, 2 * width, 'bgr8')
        self.segment([kind.black()] * self.status.batch)
        return self

    def segment(self, images: Sequence[Image]) -> list[Segmentation]:
        """Segment images of any sizes and encodings, up to a batch at a time.

        Of more images than a batch, one is copied while another one runs. Labels and confidence of
        a batch share one block of memory.
        """
        kinds: dict[ImageKind, list[int]] = {}
        for index, image in enumerate(images):
            kinds.setdefault(ImageKind.of(image), []).append(index)
        results: dict[int, Segmentation] = {}
        running: deque[tuple[ImageKind, list[int], Finish]] = deque()
        is_first = True
        for kind, indices in kinds.items():
            while indices:
                batch = indices[: self.status.batch]
                work = partial(self._start, kind, [images[index] for index in batch])
                try:
                    running.append((kind, batch, self._guarded(work, kind)))
                except DeviceMemoryError as error:
                    results.update(self._finished(running, 0))
                    # all but the network was freed, so the same may fit now
                    if not is_first and not self._halve(error):
                        raise
                    is_first = False
                    continue
                del indices[: len(batch)]
                results.update(self._finished(running, IN_FLIGHT - 1))
        results.update(self._finished(running, 0))
        return [results[index] for index in range(len(images))]

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of RGB (N, height, width, 3) uint8."""
        full = self.status.batch
        parts = [pixels[start : start + full] for start in range(0, len(pixels), full)]
        kind = ImageKind(*self._size, 'rgb8')
        return np.concatenate([self._guarded(partial(self._logits, p), kind) for p in parts])

    def close(self) -> None:
        """Free the device's memory."""
        self._guarded(self._forget, ImageKind(*self._size, 'rgb8'))

    def _start(self, kind: ImageKind, images: Sequence[Image]) -> Finish:
        """Queue a batch of one kind."""
        started = time.perf_counter()
        full = self.status.batch
        # the smallest of 1, 2, 4 … that holds them
        batch = full if self._is_fixed else min(1 << (len(images) - 1).bit_length(), full)
        with self._stream.entered():
            plan = self._plans.pop((kind, batch), None)
            if plan is None:
                while len(self._plans) >= PLANS_KEPT:
                    del self._plans[next(iter(self._plans))]
                plan = Plan(self._network, self._size, kind, batch, self._stream)
                self._degrade('graphs', self._stream.degraded)
            self._plans[kind, batch] = plan
            return plan.start(images, started)

    def _finished(
        self, running: deque[tuple[ImageKind, list[int], Finish]], most: int
    ) -> Iterator[tuple[int, Segmentation]]:
        """Wait until at most so many batches are running; yield the results of the others."""
        while len(running) > most:
            kind, batch, finish = running.popleft()
            found, are_finite = self._guarded(finish, kind)
            if not are_finite:
                # raised here: the device is well
                raise BackendError(NOT_FINITE)
            yield from zip(batch, found, strict=True)

    def _halve(self, error: DeviceMemoryError) -> bool:
        """Halve a batch of several images; return whether it was."""
        if self._is_fixed or self.status.batch == 1:
            return False
        half = self.status.batch // 2
        _log.warning('serving batches of %d instead of %d: %s', half, self.status.batch, error)
        self._degrade('batch', f'batches of {half} because {error}', half)
        return True

    def _degrade(self, cause: str, reason: str, batch: int = 0) -> None:
        self._reasons[cause] = reason
        degraded = '; '.join(filter(None, self._reasons.values()))
        batch = batch or self.status.batch
        self.status = dataclasses.replace(self.status, degraded=degraded, batch=batch)

    def _logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        batch = np.zeros((self.status.batch, *pixels.shape[1:]), np.uint8)
        batch[: len(pixels)] = pixels
        with self._stream.entered():
            logits, _ = outputs_of(self._network(torch.from_numpy(batch).to(self._device)))
            # copied: an engine overwrites its output
            return logits[: len(pixels)].float().cpu().numpy().copy()

    def _guarded(self, work: Callable[[], T], kind: ImageKind) -> T:
        """Do ``work``; if the device fails, drop the plans and raise the reason."""
        height, width = self._size
        what = f'{self.status.batch} images of {kind}, network {width}x{height}'
        try:
            return guarded(work, self._device, what, self._forget)
        except GpuContextLostError as error:
            self._on_lost(error)
            raise

    def _forget(self) -> None:
        """Free everything on the device but the network."""
        self._stream.wait()
        self._plans.clear()
        free_unused(self._device)


class Plan:
    """Segment up to ``batch`` images of a kind at a time, within ``stream.entered()``.

    Images are copied through pinned memory to the device, resized to ``size``, run through the
    network and decoded; all results are copied back at once. Between the copies, that is one CUDA
    graph on a GPU, in memory that never moves. The unused places of a short batch hold older images.
    """

    def __init__(
        self,
        network: Network,
        size: tuple[int, int],
        kind: ImageKind,
        batch: int,
        stream: DeviceStream,
    ) -> None:
        self._network, self._size, self._stream = network, size, stream
        self._resize = DeviceResize(kind[:2], kind.encoding, size, stream.device)
        shape = (batch, *kind[:2], CHANNELS[kind.encoding])
        self._pixels = torch.zeros(shape, dtype=torch.uint8, device=stream.device)
        # only a run tells the number of classes
        logits, descriptors = outputs_of(network(self._resize(self._pixels)))
        is_wide = logits.shape[-1] > 255
        self._shape, self._kind = shape[:3], torch.int16 if is_wide else torch.uint8
        pixels = batch * kind.height * kind.width
        described = 0 if descriptors is None else 4 * descriptors.numel()
        # the floats come first, where they are aligned
        self._lengths = [described, pixels * (2 if is_wide else 1), pixels, batch]
        self._found = torch.zeros(sum(self._lengths), dtype=torch.uint8, device=stream.device)
        # pinned memory for images and results of batches that are not running
        self._idle = [self._on_host()]
        self._run = stream.record(self._queue, f'{batch} images of {kind}')

    def start(self, images: Sequence[Image], started: float) -> Finish:
        """Queue images, at the clock's ``started``."""
        uploaded, downloaded = pinned = self._idle.pop() if self._idle else self._on_host()
        for place, image in zip(uploaded.numpy(), images, strict=False):
            np.copyto(place, image.pixels.reshape(place.shape))
        self._pixels.copy_(uploaded, non_blocking=True)
        self._run()
        downloaded.copy_(self._found, non_blocking=True)
        wait = self._stream.mark()

        def finish() -> tuple[list[Segmentation], bool]:
            wait()
            results = self._results(downloaded.clone())
            found, labels, confidence, finite = (one.numpy()[: len(images)] for one in results)
            self._idle.append(pinned)
            timings = Timings(1e3 * (time.perf_counter() - started))
            labels = labels.view(np.uint16) if labels.dtype == np.int16 else labels
            described = found if found.size else [None] * len(images)
            segmented = [
                Segmentation(one, share, self._size, timings, descriptor=descriptor)
                for one, share, descriptor in zip(labels, confidence, described, strict=True)
            ]
            return segmented, bool(finite.all())

        return finish

    def _queue(self) -> None:
        logits, descriptors = outputs_of(self._network(self._resize(self._pixels)))
        found, *results = self._results(self._found)
        if descriptors is not None:
            found.copy_(descriptors)
        decode(logits, *results)

    def _results(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return descriptors (N, n), labels and confidence (N, H, W) and finiteness (N,).

        They are views of a row of bytes.
        """
        descriptors, labels, confidence, finite = torch.split(row, self._lengths)
        batch = self._shape[0]
        return (
            descriptors.view(torch.float32).view(batch, len(descriptors) // (4 * batch)),
            labels.view(self._kind).view(self._shape),
            confidence.view(self._shape),
            finite.view(torch.bool),
        )

    def _on_host(self) -> tuple[Tensor, Tensor]:
        on_gpu = (self._pixels, self._found)
        upload, download = (
            torch.zeros(one.shape, dtype=one.dtype, pin_memory=self._stream.is_cuda)
            for one in on_gpu
        )
        return upload, download


class DeviceStream:
    """A stream of a GPU and the memory of its CUDA graphs.

    ``degraded`` is the reason for starting kernels one by one, empty with graphs.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.is_cuda = device.type == 'cuda'
        self.degraded = ''
        self._stream = torch.cuda.Stream(device) if self.is_cuda else None  # type: ignore[no-untyped-call]
        self._graphs: weakref.WeakSet[torch.cuda.CUDAGraph] = weakref.WeakSet()
        self._pool: Any = None
        if self.is_cuda:
            # the weights were copied on the current stream
            torch.cuda.current_stream(device).synchronize()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make this PyTorch's current stream for a while."""
        if self._stream is None:
            yield
        else:
            with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
                yield

    def wait(self) -> None:
        """Wait until all queued work is done."""
        if self._stream is not None:
            self._stream.synchronize()

    def mark(self) -> Callable[[], None]:
        """Return what waits for the work that is queued until now."""
        return self._stream.record_event().synchronize if self._stream else lambda: None

    def record(self, work: Callable[[], None], name: str) -> Callable[[], None]:
        """Run ``work`` a few times, and return its CUDA graph's replay, or ``work`` without graphs.

        ``work`` must not wait for the host, and use the same memory every time. Called within
        :meth:`entered`, as is the result. ``name`` is for the log.
        """
        if not self.is_cuda:
            return work
        # the first runs compile, allocate and measure, which cannot be captured
        for _ in range(WARM_UPS):
            work()
        self.wait()
        if self.degraded:
            return work
        try:
            return self._capture(work)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self.wait()  # raises if the context is lost
            self.degraded = f'without CUDA graphs: {first_line(error)}'
            _log.warning('no CUDA graph of %s, its kernels are started one by one: %s', name, error)
            return work

    def _capture(self, work: Callable[[], None]) -> Callable[[], None]:
        # not torch.cuda.graph: it synchronises the device, and does not close a broken capture
        graph = torch.cuda.CUDAGraph()
        if not self._graphs or self._pool is None:
            # a pool whose last graph is gone asserts at the next capture
            self._pool = torch.cuda.graph_pool_handle()
        failure: Exception | None = None
        try:
            # the graphs of a stream share memory: they run in turn
            graph.capture_begin(self._pool, capture_error_mode='thread_local')
            try:
                work()
            except Exception as error:  # noqa: BLE001 - the capture must end all the same
                failure = error
            graph.capture_end()
        except RuntimeError as error:
            failure = failure or error
            self._close(graph)
        if failure is not None:
            raise failure
        self._graphs.add(graph)
        return graph.replay

    def _close(self, graph: torch.cuda.CUDAGraph) -> None:
        """End the allocation to the pool of a capture that failed: torch before 2.13 does not."""
        with suppress(RuntimeError):
            graph.reset()
        found = filter(None, (getattr(torch._C, name, None) for name in END_ALLOCATION))  # noqa: SLF001
        with suppress(RuntimeError, TypeError, StopIteration):
            next(found)(self.device.index or 0, self._pool)
        self._pool = None
