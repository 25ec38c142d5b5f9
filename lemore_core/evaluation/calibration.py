"""Calibration: whether a confidence of 80 % is right four times in five.

The expected calibration error of Guo et al. ("On calibration of modern neural networks", ICML
2017): pixels are put into equal bins by the confidence of their label, and the gaps between each
bin's mean confidence and its accuracy are averaged, weighted by the bin's pixels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.metrics import rounded

BINS = 15
LEVELS = 256


class CalibrationBins(NamedTuple):
    """Of each bin: its bounds, pixels, mean confidence and accuracy (NaN where it is empty).

    ``edges`` is (bins + 1,), the others (bins,).
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


class Calibration:
    """Pixels, and right ones among them, by confidence.

    They are counted for each of the 256 values that a confidence has, so any number of bins can
    be had afterwards.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts: NDArray[np.int64] = np.zeros(LEVELS, np.int64)
        self.hits: NDArray[np.int64] = np.zeros(LEVELS, np.int64)

    def add(
        self,
        truth: NDArray[np.integer],
        labels: NDArray[np.integer],
        confidence: NDArray[np.uint8],
    ) -> None:
        """Count an image: three images of one shape; true ids outside the classes are ignored.

        ``confidence`` is 255 times the probability of the label.

        Raises:
            ValueError: the three differ in shape.
        """
        if not truth.shape == labels.shape == confidence.shape:
            msg = (
                f'truth has shape {truth.shape}, labels {labels.shape}, '
                f'confidence {confidence.shape}'
            )
            raise ValueError(msg)
        known = truth < self.classes
        self.counts += np.bincount(confidence[known], minlength=LEVELS)
        self.hits += np.bincount(confidence[known & (truth == labels)], minlength=LEVELS)

    def merge(self, other: Calibration) -> None:
        """Add what another calibration has counted."""
        self.counts += other.counts
        self.hits += other.hits

    def bins(self, number: int = BINS) -> CalibrationBins:
        """Return equal bins over the confidence; a bin holds its lower bound, the last one both."""
        values = np.arange(LEVELS)
        # whole numbers: the bounds of 15 bins are values that a confidence has
        index = np.minimum(values * number // (LEVELS - 1), number - 1)
        counts, hits, total = (
            np.bincount(index, weights, minlength=number)
            for weights in (self.counts, self.hits, self.counts * values / (LEVELS - 1))
        )
        with np.errstate(invalid='ignore'):
            confidence, accuracy = total / counts, hits / counts
        edges = np.linspace(0, 1, number + 1)
        return CalibrationBins(edges, counts.astype(np.int64), confidence, accuracy)

    def expected_error(self, number: int = BINS) -> float:
        """Return the expected calibration error, 0..1; NaN if nothing was counted."""
        bins = self.bins(number)
        total = bins.counts.sum()
        gaps = np.nan_to_num(np.abs(bins.accuracy - bins.confidence))
        return float((gaps * bins.counts).sum() / total) if total else np.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the error and the bins, rounded, as JSON holds them."""
        bins = self.bins()
        return {
            'expected_error': rounded(self.expected_error()),
            'bins': [
                {
                    'from': rounded(low),
                    'to': rounded(high),
                    'pixels': int(count),
                    'confidence': rounded(confidence),
                    'accuracy': rounded(accuracy),
                }
                for low, high, count, confidence, accuracy in zip(
                    bins.edges[:-1], bins.edges[1:], *bins[1:], strict=True
                )
            ],
        }
