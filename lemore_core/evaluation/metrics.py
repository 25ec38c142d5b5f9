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

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class; NaN where it is neither there nor predicted."""
        hits = np.diag(self.counts)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        with np.errstate(invalid='ignore', divide='ignore'):
            return np.asarray(hits / union, np.float64)

    @property
    def mean_iou(self) -> float:
        """Mean of :attr:`iou` over the classes that have one."""
        return float(np.nanmean(self.iou))

    def figures(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the figures by name, rounded, as JSON holds them; ``names`` are the classes'."""
        return {
            'mean_iou': round(self.mean_iou, 4),
            'pixel_accuracy': round(self.pixel_accuracy, 4),
            # JSON has no NaN
            'iou': {
                name: None if np.isnan(value) else round(float(value), 4)
                for name, value in zip(names, self.iou, strict=True)
            },
        }

    @property
    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels that carry their class."""
        return float(np.diag(self.counts).sum() / self.counts.sum())
