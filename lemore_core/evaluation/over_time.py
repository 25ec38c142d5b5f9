"""Figures along a drive, in bounded memory however long it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LIMIT = 20_000
DIGITS = 5

Values = NDArray[np.float64]


class Course(NamedTuple):
    """Figures over time: ``seconds`` (n,), and by name the mean, least and most of each bin (n,).

    What was never known in a bin is NaN.
    """

    seconds: Values
    mean: Mapping[str, Values]
    low: Mapping[str, Values]
    high: Mapping[str, Values]


class _Bin(NamedTuple):
    """Frames taken together: all (columns,), ``seconds`` a sum over ``frames``."""

    frames: int
    seconds: float
    counts: Values
    sums: Values
    low: Values
    high: Values

    def joined(self, other: _Bin) -> _Bin:
        return _Bin(
            self.frames + other.frames,
            self.seconds + other.seconds,
            self.counts + other.counts,
            self.sums + other.sums,
            np.fmin(self.low, other.low),
            np.fmax(self.high, other.high),
        )


class OverTime:
    """One row of figures a frame; when there are too many rows, neighbours are taken together.

    Up to ``limit`` frames are kept as they are, after that two, four, eight … of them are a bin:
    ``frames_per_bin``.
    """

    def __init__(self, columns: Sequence[str], limit: int = LIMIT) -> None:
        self.columns = tuple(columns)
        self.frames_per_bin = 1
        self._limit = limit
        self._bins: list[_Bin] = []

    def add(self, seconds: float, values: Sequence[float] | Values) -> None:
        """Add the figures of a frame, in the order of the columns, NaN for what is not known."""
        row = np.asarray(values, np.float64)
        known = ~np.isnan(row)
        one = _Bin(1, seconds, known.astype(np.float64), np.where(known, row, 0), row, row)
        if self._bins and self._bins[-1].frames < self.frames_per_bin:
            self._bins[-1] = self._bins[-1].joined(one)
            return
        if len(self._bins) >= self._limit:
            self._bins = _in_pairs(self._bins)
            self.frames_per_bin *= 2
            # an odd number leaves a bin at the end that is not full
            self.add(seconds, values)
            return
        self._bins.append(one)

    def course(self, limit: int = LIMIT) -> Course:
        """Return what was added, in ``limit`` bins at most."""
        bins = self._bins
        while len(bins) > limit:
            bins = _in_pairs(bins)
        seconds = np.array([b.seconds / b.frames for b in bins])
        shape = len(bins), len(self.columns)
        with np.errstate(invalid='ignore'):
            mean = _stack([b.sums for b in bins], shape) / _stack([b.counts for b in bins], shape)
        low = _stack([b.low for b in bins], shape)
        high = _stack([b.high for b in bins], shape)
        tables = (dict(zip(self.columns, table.T, strict=True)) for table in (mean, low, high))
        return Course(seconds, *tables)

    def mean(self) -> dict[str, float]:
        """Return the mean of each column over all frames in which it was known, else NaN."""
        shape = len(self._bins), len(self.columns)
        sums = _stack([b.sums for b in self._bins], shape).sum(0)
        with np.errstate(invalid='ignore'):
            means = sums / _stack([b.counts for b in self._bins], shape).sum(0)
        return dict(zip(self.columns, means.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the means of the bins as JSON holds them; columns that were never known miss."""
        course = self.course()
        return {
            'frames_per_row': self.frames_per_bin,
            'seconds': _plain(course.seconds),
            **{k: _plain(v) for k, v in course.mean.items() if not np.isnan(v).all()},
        }


def _in_pairs(bins: list[_Bin]) -> list[_Bin]:
    pairs = [first.joined(second) for first, second in zip(bins[::2], bins[1::2], strict=False)]
    return pairs + bins[2 * len(pairs) :]


def _stack(rows: list[Values], shape: tuple[int, int]) -> Values:
    return np.array(rows, np.float64).reshape(shape)


def _plain(values: Values) -> list[float | None]:
    return [None if np.isnan(v) else round(float(v), DIGITS) for v in values]
