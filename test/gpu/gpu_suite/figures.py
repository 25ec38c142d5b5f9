"""What a frame costs on a device, from bytes on the host to labels on the host."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from gpu_suite import networks
from lemore_core.images.image import Image
from lemore_core.inference.backend import FP16, FP32, Status
from lemore_core.inference.gpu.pipeline import GpuPipeline
from lemore_core.inference.torch_backend import place

CLASSES = 150
LARGE_BATCH = 32
FRAMES_PER_SECOND = 30
WARM_UPS = 5
MILLISECONDS, SPEED_UP, PER_SECOND = 1.0, 5.0, 6000.0

Figures = dict[str, Any]


def measure(
    device: torch.device,
    size: tuple[int, int] = (512, 512),
    seconds: float = 5.0,
    batch: int = LARGE_BATCH,
) -> Figures:
    """Return the figures of the tiny network; images and network are of ``size``.

    Milliseconds; those at a steady rate differ from those of frame after frame, because a GPU
    lowers its clocks between frames. On a CPU, which only tests call it for, what a GPU alone
    tells is left out.
    """
    is_cuda = device.type == 'cuda'
    random = np.random.default_rng(0)
    images = [Image(random.integers(0, 256, (*size, 3), np.uint8), 'rgb8') for _ in range(batch)]
    with _pipeline(device, size, 1) as pipeline:
        figures: Figures = {
            'batch 1': _timed(lambda: pipeline.segment(images[:1]), seconds),
            'batch 1 at 30 Hz': _timed(
                lambda: pipeline.segment(images[:1]), seconds, 1 / FRAMES_PER_SECOND
            ),
        }
        if is_cuda:
            figures['kernels per frame'] = _count_kernels(lambda: pipeline.segment(images[:1]))
    eager = _plain_eager(device, size)
    figures['plain eager'] = _timed(lambda: eager(images[0].pixels), seconds)
    figures['times faster'] = figures['plain eager']['median'] / figures['batch 1']['median']
    with _pipeline(device, size, batch) as pipeline:
        timed = _timed(lambda: pipeline.segment(images), seconds)
        figures[f'batch {batch}'] = timed
        figures['images a second'] = 1e3 * batch / timed['median']
    if is_cuda:
        figures['peak MiB'] = torch.cuda.max_memory_reserved(device) / (1 << 20)
    return figures


def missed_bars(figures: Figures) -> list[str]:
    """Say which of the figures that were to be reached were not."""
    latency, rate = figures['batch 1']['median'], figures['images a second']
    missed = []
    if latency > MILLISECONDS:
        missed.append(f'batch 1 takes {latency} ms, {MILLISECONDS} are allowed')
    if figures['times faster'] < SPEED_UP:
        missed.append(f'it is {figures["times faster"]:.1f} times plain eager, not {SPEED_UP}')
    if rate < PER_SECOND:
        missed.append(f'batch {LARGE_BATCH} makes {rate:.0f} images a second, not {PER_SECOND}')
    return missed


def _timed(run: Callable[[], object], seconds: float, period: float = 0.0) -> Figures:
    """Time ``run``, which returns when its result is on the host, at most once a ``period``."""
    for _ in range(WARM_UPS):
        run()
    times = []
    begin = time.perf_counter()
    while time.perf_counter() < begin + seconds:
        started = time.perf_counter()
        run()
        ended = time.perf_counter()
        times.append(1e3 * (ended - started))
        time.sleep(max(0.0, started + period - ended))
    times.sort()
    last = len(times) - 1
    return {
        'median': statistics.median(times),
        'p95': times[int(0.95 * last)],
        'p99': times[int(0.99 * last)],
        'frames': len(times),
    }


def _count_kernels(run: Callable[[], object]) -> int:
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
    return sum(
        event.device_type == DeviceType.CUDA and not event.name.startswith(('Memcpy', 'Memset'))
        for event in profiler.events() or ()
    )


def _plain_eager(
    device: torch.device, size: tuple[int, int]
) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    graph = networks.untrained('tiny', *size, CLASSES, networks.PlainGraph).to(device)

    @torch.inference_mode()
    def run(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        logits = graph(torch.from_numpy(pixels)[None].to(device)).permute(0, 3, 1, 2)
        full = functional.interpolate(logits, size, mode='bilinear', align_corners=False)
        labels: NDArray[np.uint8] = full.argmax(1).to(torch.uint8).cpu().numpy()
        return labels

    return run


@contextmanager
def _pipeline(device: torch.device, size: tuple[int, int], batch: int) -> Iterator[GpuPipeline]:
    """Return a pipeline for a while, whose memory is free after it."""
    precision = FP16 if device.type == 'cuda' else FP32
    graph = networks.untrained('tiny', *size, CLASSES)
    with torch.inference_mode():
        network, _ = place(graph, networks.WEIGHTS, device, precision)
    pipeline = GpuPipeline(network, size, Status('torch', str(device), precision, batch))
    try:
        yield pipeline
    finally:
        pipeline.close()
