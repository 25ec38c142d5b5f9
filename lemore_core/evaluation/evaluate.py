"""Evaluate a predictor on labelled images, at the labels' own resolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lemore_core.data.samples import DataError, Sample
from lemore_core.evaluation.metrics import ConfusionMatrix, Scores, by_name, rounded
from lemore_core.evaluation.strategies import Prediction, Predictor
from lemore_core.taxonomy import Taxonomy


@dataclass(frozen=True)
class ImageResult:
    """Figures of one image; NaN for an image without labels.

    ``iou`` (classes,) is NaN for a class that is neither there nor predicted. ``mean_iou`` is the
    mean over the classes that are there: a few stray pixels of another class would halve a mean
    that includes it.
    """

    name: str
    path: Path
    mean_iou: float
    pixel_accuracy: float
    iou: NDArray[np.float64]

    @classmethod
    def from_matrix(cls, path: Path, matrix: ConfusionMatrix) -> ImageResult:
        """Return the figures of an image from its confusion matrix."""
        there, iou = matrix.counts.sum(1) > 0, matrix.iou
        mean = float(iou[there].mean()) if there.any() else math.nan
        return cls(f'{path.parent.name}/{path.stem}', path, mean, matrix.pixel_accuracy, iou)

    @property
    def badness(self) -> tuple[float, str]:
        """Sort key: the worst image first, one without labels last."""
        return (math.inf if math.isnan(self.mean_iou) else self.mean_iou), str(self.path)


class Judged(NamedTuple):
    """An image with its labels and figures.

    ``image`` is RGB (H, W, 3) uint8, ``truth`` (H, W) uint8 with 255 for no label.
    """

    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    prediction: Prediction
    result: ImageResult


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of all images and figures of each, the worst image first."""

    taxonomy: Taxonomy
    scores: Scores
    images: tuple[ImageResult, ...]

    @property
    def figures(self) -> dict[str, Any]:
        """The figures by name, rounded, for JSON."""
        return self.scores.figures(self.taxonomy.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, the confusion matrix, the calibration and the images, for JSON."""
        names = self.taxonomy.classes
        return {
            **self.scores.to_dict(names),
            'per_image': [
                {
                    'image': str(image.path),
                    'mean_iou': rounded(image.mean_iou),
                    'pixel_accuracy': rounded(image.pixel_accuracy),
                    'iou': {k: v for k, v in by_name(names, image.iou).items() if v is not None},
                }
                for image in self.images
            ],
        }


def evaluate(
    predictor: Predictor,
    samples: Iterable[Sample],
    observe: Callable[[Judged], None] | None = None,
) -> EvaluationResult:
    """Predict every sample and compare it with its ground truth; call ``observe`` with each."""
    scores = Scores(len(predictor.taxonomy.classes))
    images = []
    for sample in samples:
        require_classes(sample, predictor.taxonomy)
        image, truth = sample.read_pair()
        prediction = predictor.predict(image)
        own = scores.add(truth, *prediction)
        images.append(ImageResult.from_matrix(sample.image, own))
        if observe is not None:
            observe(Judged(image, truth, prediction, images[-1]))
    images.sort(key=lambda result: result.badness)
    return EvaluationResult(predictor.taxonomy, scores, tuple(images))


def require_classes(sample: Sample, taxonomy: Taxonomy) -> None:
    """Raise DataError for a sample of other classes than the model's."""
    if sample.taxonomy.classes != taxonomy.classes:
        both = zip_longest(sample.taxonomy.classes, taxonomy.classes)
        first, names = next((i, pair) for i, pair in enumerate(both) if pair[0] != pair[1])
        msg = (
            f'{sample.image} is labelled with the {len(sample.taxonomy.classes)} classes of '
            f'{sample.taxonomy.name!r} ({_start(sample.taxonomy)}), the model knows the '
            f'{len(taxonomy.classes)} of {taxonomy.name!r} ({_start(taxonomy)}): class {first} is '
            f'{names[0]} there and {names[1]} in the model. --class-groups renames and merges the '
            "model's, --ground-truth-groups the data's"
        )
        raise DataError(msg)


def _start(taxonomy: Taxonomy) -> str:
    return ', '.join(taxonomy.classes[:3]) + ', ...' * (len(taxonomy.classes) > 3)
