"""What no program could beat on this device: bytes over bandwidth, operations over their rate.

Three bounds on an image's time. Its way to the device and the labels' way back, over the measured
rates of pinned copies. The network's multiply-adds, over the measured rate of a large product. The
network's memory traffic: every convolution reads its input and its weights once and writes its
output once, over the measured bandwidth of a copy; fusing layers could beat this one. Copies,
memory and arithmetic may overlap within a stream of batches, so the floor of throughput is the
largest of the three; a single image waits for its copies and then for the larger of the others.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from lemore_core.export.graph import ServingGraph
from lemore_core.model.cost import measure_cost

MIB = 1 << 20
COPY_BYTES = 256 * MIB
PRODUCT = 8192
ROUNDS = 23


@dataclass(frozen=True)
class Rates:
    """Bytes a second to the device, from it and through its memory; operations a second."""

    upload: float
    download: float
    memory: float
    half_operations: float

    def to_dict(self) -> dict[str, float]:
        """Return plain values that JSON holds."""
        return asdict(self)


@dataclass(frozen=True)
class Work:
    """What a batch moves and computes: bytes up, down and through memory, operations."""

    upload: int
    download: int
    memory: int
    operations: int


@dataclass(frozen=True)
class Floor:
    """Milliseconds of a batch's bounds."""

    upload: float
    download: float
    memory: float
    arithmetic: float

    @property
    def latency(self) -> float:
        """What a batch alone cannot beat."""
        return self.upload + max(self.memory, self.arithmetic) + self.download

    @property
    def period(self) -> float:
        """What batches one after the other cannot beat, each."""
        return max(self.upload, self.download, self.memory, self.arithmetic)

    def to_dict(self) -> dict[str, float]:
        """Return plain values that JSON holds."""
        return {**asdict(self), 'latency': self.latency, 'period': self.period}


def measure_rates(device: torch.device) -> Rates:
    """Measure what the device can do at its best."""
    host = torch.empty(COPY_BYTES, dtype=torch.uint8, pin_memory=True)
    here = torch.empty(COPY_BYTES, dtype=torch.uint8, device=device)
    there = torch.empty_like(here)
    factor = torch.randn(PRODUCT, PRODUCT, device=device, dtype=torch.float16)
    return Rates(
        upload=_per_second(COPY_BYTES, lambda: here.copy_(host, non_blocking=True)),
        download=_per_second(COPY_BYTES, lambda: host.copy_(here, non_blocking=True)),
        # a copy reads and writes
        memory=_per_second(2 * COPY_BYTES, lambda: there.copy_(here)),
        half_operations=_per_second(2 * PRODUCT**3, lambda: torch.mm(factor, factor)),
    )


def count_work(graph: ServingGraph, batch: int, size: tuple[int, int], number_bytes: int) -> Work:
    """Count the work of a batch of images of ``size``, in numbers of so many bytes."""
    pixels = size[0] * size[1]
    return Work(
        upload=3 * pixels * batch,
        download=2 * pixels * batch,
        memory=number_bytes * _numbers_moved(graph, batch),
        operations=2 * measure_cost(graph.network.config).macs * batch,
    )


def find_floor(work: Work, rates: Rates) -> Floor:
    """Return the bounds of some work."""
    return Floor(
        upload=1e3 * work.upload / rates.upload,
        download=1e3 * work.download / rates.download,
        memory=1e3 * work.memory / rates.memory,
        arithmetic=1e3 * work.operations / rates.half_operations,
    )


def _numbers_moved(graph: ServingGraph, batch: int) -> int:
    """Count the numbers that the convolutions read and write for a batch, each once."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weights = sum(parameter.numel() for parameter in module.parameters())
        total += batch * (inputs[0].numel() + output.numel()) + weights

    hooks = [
        module.register_forward_hook(count)
        for module in graph.modules()
        if isinstance(module, nn.Conv2d)
    ]
    config = graph.network.config
    with torch.inference_mode():
        graph(torch.zeros(1, config.height, config.width, 3, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return total


def _per_second(amount: float, run: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        run()
        after.record()
        after.synchronize()
        times.append(before.elapsed_time(after))
    # the first ones allocate
    return 1e3 * amount / statistics.median(times[3:])
