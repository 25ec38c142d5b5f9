"""What labels are measured by against the truth, counted image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.calibration import Calibration
from lemore_core.evaluation.metrics import ConfusionMatrix, by_name, rounded


class Scores:
    """Confusion matrix and calibration of the images so far."""

    def __init__(self, classes: int) -> None:
        self.matrix = ConfusionMatrix(classes)
        self.calibration = Calibration(classes)

    def add(
        self,
        truth: NDArray[np.integer[Any]],
        labels: NDArray[np.integer[Any]],
        confidence: NDArray[np.uint8] | None = None,
    ) -> ConfusionMatrix:
        """Count an image, and return its own confusion matrix.

        The images are (H, W); true ids outside the classes are ignored. Without ``confidence``
        (255 for certain) the calibration learns nothing.

        Raises:
            ValueError: they differ in shape.
        """
        own = ConfusionMatrix(self.matrix.classes)
        own.add(truth, labels)
        self.matrix.merge(own)
        if confidence is not None:
            self.calibration.add(truth, labels, confidence)
        return own

    def figures(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the figures by name, rounded, as JSON holds them; ``names`` are the classes'."""
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
