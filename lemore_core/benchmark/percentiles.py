"""Many measurements of one thing in a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Percentiles:
    """The median and the 95th and 99th percentile; None for those that are not known."""

    median: float
    p95: float | None = None
    p99: float | None = None

    def columns(self) -> dict[str, str]:
        """Return milliseconds by the columns of a table."""
        values = {'median ms': self.median, 'p95 ms': self.p95, 'p99 ms': self.p99}
        return {name: '' if one is None else f'{one:.2f}' for name, one in values.items()}


def percentiles(values: Sequence[float]) -> Percentiles:
    """Return the percentiles of at least one value, interpolated between the two nearest."""
    median, p95, p99 = (float(value) for value in np.percentile(values, (50, 95, 99)))
    return Percentiles(median, p95, p99)


def robust_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the median slope between any two points (Theil and Sen); 0 for fewer than two.

    A single jump, such as a pool that grows once, hardly moves it.
    """
    across, up = np.asarray(x, float), np.asarray(y, float)
    first, second = np.triu_indices(len(across), 1)
    apart = across[second] != across[first]
    first, second = first[apart], second[apart]
    if not len(first):
        return 0.0
    return float(np.median((up[second] - up[first]) / (across[second] - across[first])))
