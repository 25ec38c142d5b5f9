"""The confusion matrix and the figures that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ConfusionMatrix:
    """Pixel counts by true class (rows) and predicted class (columns)."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)

    def add(self, truth: NDArray[np.integer], labels: NDArray[np.integer]) -> None:
        """Count two label images of one shape; true ids outside the classes are ignored.

        Predicted ids outside the classes (unlabelled) count as wrong for no class, so they are
        not let in: a caller that may have them says so by masking ``truth``.
        """
        if truth.shape != labels.shape:
            msg = f'truth has shape {truth.shape}, labels {labels.shape}'
            raise ValueError(msg)
        known = truth < self.classes
        pairs = truth[known].astype(np.int64) * self.classes + labels[known]
        self.counts += np.bincount(pairs, minlength=self.classes**2).reshape(self.counts.shape)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add what another matrix of the same classes has counted."""
        self.counts += other.counts

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class; NaN where it is neither there nor predicted."""
        hits = np.diag(self.counts)
        return _ratio(hits, self.counts.sum(0) + self.counts.sum(1) - hits)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Share of each class's pixels that carry it; NaN where the class is not there."""
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
        """Share of the labelled pixels that carry their class; NaN if none is labelled."""
        total = self.counts.sum()
        return float(np.diag(self.counts).sum() / total) if total else np.nan

    def figures(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the figures by name, rounded, as JSON holds them; ``names`` are the classes'."""
        return {
            'mean_iou': rounded(self.mean_iou),
            'pixel_accuracy': rounded(self.pixel_accuracy),
            'mean_accuracy': rounded(self.mean_accuracy),
            'iou': by_name(names, self.iou),
        }


def mean_of_known(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else np.nan


def rounded(value: float) -> float | None:
    """Return a figure with four digits; None for NaN, which JSON lacks."""
    return None if np.isnan(value) else round(float(value), 4)


def percent(value: float) -> str:
    """Return a share as text; a dash for NaN."""
    return '-' if np.isnan(value) else f'{100 * value:.1f} %'


def by_name(names: Sequence[str], values: NDArray[np.float64]) -> dict[str, float | None]:
    """Return one figure a class by the classes' names, as :func:`rounded` gives them."""
    return {name: rounded(value) for name, value in zip(names, values, strict=True)}


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.asarray(part / whole, np.float64)
