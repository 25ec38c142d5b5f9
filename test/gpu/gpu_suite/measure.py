"""How long things take, within a budget of time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

WARM_UPS = 5
LEAST_ROUNDS = 10


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds of a run: the median and the slower ends, over so many rounds."""

    median: float
    p95: float
    p99: float
    rounds: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON holds."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def time_runs(run: Callable[[], object], seconds: float) -> Percentiles:
    """Time ``run``, which returns when its result is on the host, for about so many seconds."""
    for _ in range(WARM_UPS):
        run()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < LEAST_ROUNDS:
        started = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - started))
    times.sort()
    last = len(times) - 1
    return Percentiles(
        statistics.median(times), times[int(0.95 * last)], times[int(0.99 * last)], len(times)
    )


def time_on_gpu(run: Callable[[], object], rounds: int = 20) -> float:
    """Return the median milliseconds that the GPU takes for ``run``."""
    times = []
    for i in range(rounds + 3):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        run()
        after.record()
        after.synchronize()
        if i >= 3:
            times.append(before.elapsed_time(after))
    return statistics.median(times)
