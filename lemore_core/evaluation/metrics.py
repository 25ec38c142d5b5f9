"""Measure labels: confusion matrix, calibration and time series."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15
LEVELS = 256
MOST_POINTS = 20_000
NAMED_AT_MOST = 8  # classes

Values = NDArray[np.float64]
Ids = NDArray[np.integer]


class ConfusionMatrix:
    """Pixel counts by true class (rows) and predicted class (columns)."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)

    def add(self, truth: Ids, labels: Ids) -> None:
        """Count two label images; true ids outside the classes are ignored, labels have none."""
        known = truth < self.classes
        pairs = truth[known].astype(np.int64) * self.classes + labels[known]
        self.counts += np.bincount(pairs, minlength=self.classes**2).reshape(self.counts.shape)

    @property
    def iou(self) -> Values:
        """Intersection over union of each class; NaN for a class neither there nor predicted."""
        hits = np.diag(self.counts)
        return _ratio(hits, self.counts.sum(0) + self.counts.sum(1) - hits)

    @property
    def accuracy(self) -> Values:
        """Share of each class's pixels with the right label; NaN for a class that is not there."""
        return _ratio(np.diag(self.counts), self.counts.sum(1))

    @property
    def mean_iou(self) -> float:
        """Mean of :attr:`iou` over the classes that have one; NaN if none has."""
        return mean_of_known(self.iou)

    @property
    def mean_accuracy(self) -> float:
        """Mean of :attr:`accuracy` over the classes that have one; NaN if none has."""
        return mean_of_known(self.accuracy)

    @property
    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels with the right label; NaN if none is labelled."""
        total = self.counts.sum()
        return float(np.diag(self.counts).sum() / total) if total else np.nan

    def lacking(self, names: Sequence[str]) -> str:
        """Return which classes have no true pixel, to follow a mean; '' if all have some."""
        absent = [
            name for name, number in zip(names, self.counts.sum(1), strict=True) if not number
        ]
        if len(absent) > NAMED_AT_MOST:
            return f' (no pixel of {len(absent)} of {len(names)} classes)'
        return f' (no pixel of {", ".join(absent)})' if absent else ''

    def figures(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the figures by name, rounded, for JSON; ``names`` are the classes'."""
        return {
            'mean_iou': rounded(self.mean_iou),
            'pixel_accuracy': rounded(self.pixel_accuracy),
            'mean_accuracy': rounded(self.mean_accuracy),
            'iou': by_name(names, self.iou),
        }


class CalibrationBins(NamedTuple):
    """Bounds (bins + 1,), pixels, mean confidence and accuracy (bins,); NaN in an empty bin."""

    edges: Values
    counts: NDArray[np.int64]
    confidence: Values
    accuracy: Values


class Calibration:
    """Pixels, and right ones among them, by each of the 256 values of the confidence."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts: NDArray[np.int64] = np.zeros(LEVELS, np.int64)
        self.hits: NDArray[np.int64] = np.zeros(LEVELS, np.int64)

    def add(self, truth: Ids, labels: Ids, confidence: NDArray[np.uint8]) -> None:
        """Count images; true ids outside the classes are ignored, ``confidence`` is of 0..255."""
        known = truth < self.classes
        self.counts += np.bincount(confidence[known], minlength=LEVELS)
        self.hits += np.bincount(confidence[known & (truth == labels)], minlength=LEVELS)

    def bins(self) -> CalibrationBins:
        """Return equal bins over the confidence; a bin holds its lower bound, the last one both."""
        values = np.arange(LEVELS)
        # whole numbers: the bounds of 15 bins are values that a confidence has
        index = np.minimum(values * BINS // (LEVELS - 1), BINS - 1)
        counts, hits, total = (
            np.bincount(index, weights, minlength=BINS)
            for weights in (self.counts, self.hits, self.counts * values / (LEVELS - 1))
        )
        means = _ratio(total, counts), _ratio(hits, counts)
        return CalibrationBins(np.linspace(0, 1, BINS + 1), counts.astype(np.int64), *means)

    def expected_error(self) -> float:
        """Return the expected calibration error, 0..1; NaN if nothing was counted.

        It is the mean gap between a bin's confidence and accuracy, weighted by the bin's pixels (Guo
        et al., "On calibration of modern neural networks", ICML 2017).
        """
        bins = self.bins()
        total = bins.counts.sum()
        gaps = np.nan_to_num(np.abs(bins.accuracy - bins.confidence))
        return float((gaps * bins.counts).sum() / total) if total else np.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the error and the bins, rounded, for JSON."""
        edges, counts, confidence, accuracy = self.bins()
        rows = [
            {'from': rounded(edges[i]), 'to': rounded(edges[i + 1]), 'pixels': int(counts[i])}
            | {'confidence': rounded(confidence[i]), 'accuracy': rounded(accuracy[i])}
            for i in range(BINS)
        ]
        return {'expected_error': rounded(self.expected_error()), 'bins': rows}


class Scores:
    """Confusion matrix and calibration of many images."""

    def __init__(self, classes: int) -> None:
        self.matrix = ConfusionMatrix(classes)
        self.calibration = Calibration(classes)

    def add(
        self, truth: Ids, labels: Ids, confidence: NDArray[np.uint8] | None = None
    ) -> ConfusionMatrix:
        """Count an image (H, W), its calibration with ``confidence``; return its own matrix."""
        own = ConfusionMatrix(self.matrix.classes)
        own.add(truth, labels)
        self.matrix.counts += own.counts
        if confidence is not None:
            self.calibration.add(truth, labels, confidence)
        return own

    def figures(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the figures by name, rounded, for JSON; ``names`` are the classes'."""
        return {
            **self.matrix.figures(names),
            'calibration_error': rounded(self.calibration.expected_error()),
            'accuracy': by_name(names, self.matrix.accuracy),
        }

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the figures, the confusion matrix and the calibration, for JSON."""
        return {
            **self.figures(names),
            'classes': list(names),
            'confusion': self.matrix.counts.tolist(),
            'calibration': self.calibration.to_dict(),
        }


class Points(NamedTuple):
    """Means over ``frames`` neighbours: seconds (n,), and by column (n,), NaN if unknown."""

    frames: int
    seconds: Values
    mean: Mapping[str, Values]


class TimeSeries:
    """Figures of each frame of a drive: eight bytes a figure."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._values = array('d')

    def add(self, seconds: float, values: Sequence[float] | Values) -> None:
        """Add a frame's figures in the order of the columns; NaN if unknown."""
        self._values.extend((seconds, *values))

    def points(self, limit: int = MOST_POINTS) -> Points:
        """Return at most ``limit`` points."""
        frames = max(1, -(-len(self.rows) // limit))
        starts = np.arange(0, len(self.rows), frames)
        known = ~np.isnan(self.rows)
        sums = np.add.reduceat(np.where(known, self.rows, 0), starts)
        seconds, *columns = _ratio(sums, np.add.reduceat(known.astype(int), starts)).T
        return Points(frames, seconds, dict(zip(self.columns, columns, strict=True)))

    def mean(self) -> dict[str, float]:
        """Return the mean of each column over the frames where it is known, else NaN."""
        return dict(zip(self.columns, map(mean_of_known, self.rows.T[1:]), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the means of the points for JSON, without columns that are never known."""
        points = self.points()
        columns = {'seconds': points.seconds, **points.mean}
        return {'frames_per_row': points.frames} | {
            name: [None if np.isnan(v) else round(float(v), 5) for v in values]
            for name, values in columns.items()
            if not np.isnan(values).all()
        }

    @property
    def rows(self) -> Values:
        """The seconds and figures of each frame, (frames, 1 + columns)."""
        return np.array(self._values, np.float64).reshape(-1, 1 + len(self.columns))


def mean_of_known(values: Values) -> float:
    """Return the mean of the values that are not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else np.nan


def rounded(value: float) -> float | None:
    """Return a figure with four digits; None for NaN, which JSON lacks."""
    return None if np.isnan(value) else round(float(value), 4)


def percent(value: float) -> str:
    """Return a share as text; a dash for NaN."""
    return '-' if np.isnan(value) else f'{100 * value:.1f} %'


def by_name(names: Sequence[str], values: Values) -> dict[str, float | None]:
    """Return one rounded figure a class by the classes' names."""
    return {name: rounded(value) for name, value in zip(names, values, strict=True)}


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Values:
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.asarray(part / whole, np.float64)
