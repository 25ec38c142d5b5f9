"""Measure a frame on a GPU, from bytes to labels on the host; ``run_gpu_suite.sh`` has the exit codes."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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
BATCHES = 8
FRAMES_PER_SECOND = 30
WARM_UPS = 5
MILLISECONDS, SPEED_UP, PER_SECOND = 1.0, 5.0, 6000.0

Figures = dict[str, Any]


def main() -> int:
    """Measure, write the figures, and print them as a table with the bars that were missed."""
    folder = Path(os.environ.get('OUT') or networks.ROOT / 'out' / 'gpu')
    folder.mkdir(parents=True, exist_ok=True)
    figures: Figures = {'device': 'none', 'torch': torch.__version__}
    missed: list[str] = []
    if torch.cuda.is_available():
        device = torch.device('cuda:0')
        versions = {'cuda': torch.version.cuda, 'cudnn': torch.backends.cudnn.version()}
        figures |= {'device': torch.cuda.get_device_name(device), **versions, **measure(device)}
        missed = missed_bars(figures)
    report = json.dumps(figures, indent=2) + '\n'
    (folder / 'figures.json').write_text(report, encoding='utf-8')
    print('| figure | times in ms |', '|---|---|', *map(_row, figures.items()), sep='\n')
    print(*(f'MISSED: {line}\n' for line in missed), sep='', end='')
    return 2 if missed else 0


def _row(figure: tuple[str, Any]) -> str:
    name, value = figure
    if isinstance(value, dict):
        value = ', '.join(f'{part} {number:.4g}' for part, number in value.items())
    return f'| {name} | {f"{value:.4g}" if isinstance(value, float) else value} |'


def measure(
    device: torch.device,
    size: tuple[int, int] = (512, 512),
    seconds: float = 5.0,
    batch: int = LARGE_BATCH,
) -> Figures:
    """Return milliseconds and rates of tiny at ``size``; on a CPU, without those of a GPU alone."""
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
        figures[f'batch {batch}'] = _timed(lambda: pipeline.segment(images), seconds)
        # offline, a batch is copied while another one runs
        many = _timed(lambda: pipeline.segment(images * BATCHES), seconds)
        figures['images a second'] = 1e3 * BATCHES * batch / many['median']
    if is_cuda:
        figures['peak MiB'] = torch.cuda.max_memory_reserved(device) / (1 << 20)
    return figures


def missed_bars(figures: Figures) -> list[str]:
    """Return a line for each figure that is worse than its bar."""
    latency, rate = figures['batch 1']['median'], figures['images a second']
    faster = figures['times faster']
    bars = {
        f'batch 1 takes {latency:.2f} ms, {MILLISECONDS} are allowed': latency > MILLISECONDS,
        f'it is {faster:.1f} times as fast as plain eager, not {SPEED_UP}': faster < SPEED_UP,
        f'batch {LARGE_BATCH}: {rate:.0f} images a second, not {PER_SECOND}': rate < PER_SECOND,
    }
    return [line for line, is_missed in bars.items() if is_missed]


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


if __name__ == '__main__':
    sys.exit(main())
