"""Figures along a drive."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LIMIT = 20_000
DIGITS = 5

Values = NDArray[np.float64]


class Course(NamedTuple):
    """Figures over time: ``seconds`` (n,), and by name the mean, least and most of each point (n,).

    ``frames`` neighbours are a point. What was never known in one is NaN.
    """

    frames: int
    seconds: Values
    mean: Mapping[str, Values]
    low: Mapping[str, Values]
    high: Mapping[str, Values]


class OverTime:
    """One row of figures a frame: eight bytes for each figure."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._values = array('d')

    def add(self, seconds: float, values: Sequence[float] | Values) -> None:
        """Add the figures of a frame, in the order of the columns, NaN for what is not known."""
        self._values.extend((seconds, *values))

    def course(self, limit: int = LIMIT) -> Course:
        """Return what was added, in ``limit`` points at most."""
        rows = self._rows
        frames = max(1, -(-len(rows) // limit))
        starts = np.arange(0, len(rows), frames)
        known = ~np.isnan(rows)
        with np.errstate(invalid='ignore'):
            mean = np.add.reduceat(np.where(known, rows, 0), starts) / np.add.reduceat(
                known.astype(int), starts
            )
        low, high = np.fmin.reduceat(rows, starts), np.fmax.reduceat(rows, starts)
        tables = (dict(zip(self.columns, t.T[1:], strict=True)) for t in (mean, low, high))
        return Course(frames, mean[:, 0], *tables)

    def mean(self) -> dict[str, float]:
        """Return the mean of each column over all frames in which it was known, else NaN."""
        rows = self._rows[:, 1:]
        with np.errstate(invalid='ignore'):
            means = np.nansum(rows, 0) / np.count_nonzero(~np.isnan(rows), 0)
        return dict(zip(self.columns, means.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the means of the points as JSON holds them; columns that were never known miss."""
        course = self.course()
        return {
            'frames_per_row': course.frames,
            'seconds': _plain(course.seconds),
            **{k: _plain(v) for k, v in course.mean.items() if not np.isnan(v).all()},
        }

    @property
    def _rows(self) -> Values:
        return np.array(self._values, np.float64).reshape(-1, 1 + len(self.columns))


def _plain(values: Values) -> list[float | None]:
    return [None if np.isnan(v) else round(float(v), DIGITS) for v in values]
