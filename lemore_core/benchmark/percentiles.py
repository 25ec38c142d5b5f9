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
