"""The figures of the suite: latency, throughput, steps, floor, sizes, memory, ONNX Runtime."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from gpu_suite import networks
from gpu_suite.floor import count_work, find_floor, measure_rates
from gpu_suite.measure import time_runs
from lemore_core.export.graph import ServingGraph
from lemore_core.image import Image
from lemore_core.inference.backend import FP16, FP32, Status
from lemore_core.inference.gpu.network import place
from lemore_core.inference.gpu.pipeline import GpuPipeline

SIZE = (512, 512)
CLASSES = 150
SIZES = ('nano', 'tiny', 'small', 'base')
BATCHES = (1, 8, 32)
LANES = 2
# batches in one call when throughput is measured, so that two streams have something to overlap
IN_A_ROW = 8
MILLISECONDS, SPEED_UP, PER_SECOND = 1.0, 5.0, 6000.0

Figures = dict[str, Any]


class Suite:
    """Measures on one device; on a CPU the same with little of everything, to see that it runs."""

    def __init__(self, device: torch.device, deadline: float) -> None:
        self.device = device
        self.deadline = deadline
        self.is_cuda = device.type == 'cuda'
        self.size = SIZE if self.is_cuda else (128, 128)
        self.seconds = 3.0 if self.is_cuda else 0.2
        self.figures: Figures = {}

    def run(self) -> Figures:
        """Measure everything for which there is time; what fails says so in its place."""
        self._add('latency', self.latency)
        self._add('throughput', self.throughput)
        if self.is_cuda:
            self._add('floor', self.floor)
        self._add('steps', self.steps)
        self._add('onnxruntime', self.onnxruntime)
        self._add('sizes', self.sizes)
        return self.figures

    def latency(self) -> Figures:
        """Batch 1, bytes on the host to labels on the host: the graph against plain eager."""
        image = self._images(1)
        with self._pipeline('tiny', FP16, 1) as pipeline:
            ours = time_runs(lambda: pipeline.segment(image), self.seconds)
        plain = self._plain_eager()
        theirs = time_runs(lambda: plain(image[0].pixels), self.seconds)
        return {
            'captured': ours.to_dict(),
            'plain eager': theirs.to_dict(),
            'times faster': theirs.median / ours.median,
        }

    def throughput(self) -> Figures:
        """Batch 32 in a stream of batches: images a second, and what the bus carries for it.

        6,000 a second are 4.7 GB/s up and 3.1 GB/s down; 16 lanes of PCIe 5 carry some 50 GB/s
        each way, so the bus is not what limits them.
        """
        batch = BATCHES[-1] if self.is_cuda else 2
        images = self._images(batch * (IN_A_ROW if self.is_cuda else 2))
        with self._pipeline('tiny', FP16, batch) as pipeline:
            percentiles = time_runs(lambda: pipeline.segment(images), self.seconds)
        rate = 1e3 * len(images) / percentiles.median
        pixels = self.size[0] * self.size[1]
        return {
            'batch': batch,
            'images a second': rate,
            'GB a second up': 3e-9 * rate * pixels,
            'GB a second down': 2e-9 * rate * pixels,
        }

    def floor(self) -> Figures:
        """What the device could do at best, and how far from it we are."""
        rates = measure_rates(self.device)
        graph = self._graph('tiny')
        floors = {
            batch: find_floor(count_work(graph, batch, self.size, 2), rates) for batch in (1, 32)
        }
        found: Figures = {'rates': rates.to_dict()}
        found |= {f'batch {batch}': floor.to_dict() for batch, floor in floors.items()}
        if 'captured' in self.figures['latency']:
            found['latency over its floor'] = (
                self.figures['latency']['captured']['median'] / floors[1].latency
            )
        if 'images a second' in self.figures['throughput']:
            period = 32e3 / self.figures['throughput']['images a second']
            found['throughput period over its floor'] = period / floors[32].period
        return found

    def steps(self) -> Figures:
        """Milliseconds of the five steps, started one by one."""
        found: Figures = {}
        for batch in BATCHES if self.is_cuda else BATCHES[:1]:
            with self._pipeline('tiny', FP16, batch) as pipeline:
                found[f'batch {batch}'] = pipeline.steps(self._images(batch), rounds=30)
        return found

    def sizes(self) -> Figures:
        """Every size, precision and batch; a batch at a time, and its peak memory."""
        found: Figures = {}
        choices = [
            (batch, size, precision)
            for batch in BATCHES
            for size in SIZES
            for precision in ((FP16, FP32) if self.is_cuda else (FP32,))
        ]
        for batch, size, precision in choices if self.is_cuda else choices[:1]:
            name = f'{size} {precision} batch {batch}'
            if time.monotonic() > self.deadline:
                found[name] = 'not measured: the time was up'
                continue
            found[name] = self._attempt(lambda at=(size, precision, batch): self._one_size(*at))
        return found

    def onnxruntime(self) -> Figures:
        """Milliseconds of the network alone in ONNX Runtime, bytes to logits on the host."""
        import onnxruntime

        from lemore_core.export.export import trace_onnx

        available = onnxruntime.get_available_providers()
        wanted = 'CUDAExecutionProvider' if self.is_cuda else 'CPUExecutionProvider'
        if wanted not in available:
            return {'not measured': f'ONNX Runtime has {", ".join(available)}, not {wanted}'}
        model = trace_onnx(self._graph('tiny'), *self.size)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=[wanted])
        if session.get_providers()[0] != wanted:
            return {'not measured': f'{wanted} does not start here'}
        pixels = self._images(1)[0].pixels[None]
        percentiles = time_runs(lambda: session.run(['logits'], {'pixels': pixels}), self.seconds)
        return {'provider': wanted, 'batch 1': percentiles.to_dict()}

    def _one_size(self, size: str, precision: str, batch: int) -> Figures:
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        images = self._images(batch)
        with self._pipeline(size, precision, batch) as pipeline:
            percentiles = time_runs(lambda: pipeline.segment(images), self.seconds / 4)
        found = {**percentiles.to_dict(), 'images a second': 1e3 * batch / percentiles.median}
        if self.is_cuda:
            found['peak MiB'] = torch.cuda.max_memory_reserved(self.device) / (1 << 20)
        return found

    def _plain_eager(self) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
        graph = networks.untrained('tiny', *self.size, CLASSES, folded=False).to(self.device)

        @torch.inference_mode()
        def run(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
            logits = graph(torch.from_numpy(pixels)[None].to(self.device)).permute(0, 3, 1, 2)
            full = functional.interpolate(
                logits, pixels.shape[:2], mode='bilinear', align_corners=False
            )
            labels: NDArray[np.uint8] = full.argmax(1).to(torch.uint8).cpu().numpy()
            return labels

        return run

    def _pipeline(self, size: str, precision: str, batch: int) -> _OpenRoad:
        if not self.is_cuda:
            precision = FP32
        return _OpenRoad(self._graph(size), self.device, self.size, precision, batch)

    def _graph(self, size: str) -> ServingGraph:
        return networks.untrained(size, *self.size, CLASSES)

    def _images(self, count: int) -> list[Image]:
        random = np.random.default_rng(0)
        return [
            Image(random.integers(0, 256, (*self.size, 3), np.uint8), 'rgb8') for _ in range(count)
        ]

    def _add(self, name: str, measure: Callable[[], Figures]) -> None:
        started = time.monotonic()
        self.figures[name] = self._attempt(measure)
        self.figures[name]['seconds'] = round(time.monotonic() - started, 1)

    def _attempt(self, measure: Callable[[], Figures]) -> Figures:
        if time.monotonic() > self.deadline:
            return {'not measured': 'the time was up'}
        try:
            return measure()
        except Exception as error:  # noqa: BLE001 - the other figures are still worth having
            return {'failed': f'{type(error).__name__}: {error}'}


class _OpenRoad:
    """A pipeline for a while, whose memory is free after it."""

    def __init__(
        self,
        graph: ServingGraph,
        device: torch.device,
        size: tuple[int, int],
        precision: str,
        batch: int,
    ) -> None:
        with torch.inference_mode():
            network, _ = place(graph, networks.WEIGHTS, device, precision, batch)
        self._pipeline = GpuPipeline(
            network, size, Status('torch', str(device), precision, batch), lanes=LANES
        )

    def __enter__(self) -> GpuPipeline:
        return self._pipeline

    def __exit__(self, *_: object) -> None:
        self._pipeline.close()


def missed_bars(figures: Figures) -> list[str]:
    """Say which of the figures that were to be reached were not, or not measured."""
    latency = figures['latency'].get('captured', {}).get('median')
    faster = figures['latency'].get('times faster')
    rate = figures['throughput'].get('images a second')
    missed = []
    if latency is None or latency > MILLISECONDS:
        missed.append(f'batch 1 takes {latency} ms, {MILLISECONDS} are allowed')
    if faster is None or faster < SPEED_UP:
        missed.append(f'batch 1 is {faster} times as fast as plain eager, not {SPEED_UP}')
    if rate is None or rate < PER_SECOND:
        missed.append(f'batch 32 makes {rate} images a second, not {PER_SECOND}')
    return missed
