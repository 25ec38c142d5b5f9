"""Evaluates a loaded model on labelled pictures, at the labels' own resolution."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lemore_core.data.camvid import DataError, Sample
from lemore_core.evaluation.metrics import ConfusionMatrix
from lemore_core.segmenter import Segmenter


def evaluate(segmenter: Segmenter, samples: Iterable[Sample]) -> ConfusionMatrix:
    """Segment every sample and count its pixels against the truth.

    Raises:
        DataError: an image or mask is unreadable, or the two differ in size.

    """
    matrix = ConfusionMatrix(len(segmenter.taxonomy.classes))
    for sample in samples:
        image, truth = sample.read_image(), sample.read_mask(segmenter.taxonomy)
        if image.shape[:2] != truth.shape:
            msg = f'{sample.image} is {image.shape[:2]}, its mask {truth.shape}'
            raise DataError(msg)
        labels = segmenter.segment(image, 'rgb8').labels
        matrix.add(truth, labels.astype(np.int64))
    return matrix
