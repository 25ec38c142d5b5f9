"""Compares two sources of labels of one drive: how often they agree, on what, when, and where."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.metrics import ConfusionMatrix, by_name, rounded
from lemore_core.evaluation.over_time import OverTime
from lemore_core.taxonomy import Labels, Taxonomy
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.evaluation.image_sequence import ImageSequence, StampedImage
from lemore_ros.bags.evaluation.label_sources import FrameLabels, LabelSource

COLUMNS = ('agreement', 'mean_iou', 'confidence_a', 'confidence_b', 'latency_a', 'latency_b')
MAP_WIDTH = 96
UNEQUAL = 'images that only one of the two labels'


@dataclass(frozen=True)
class ComparedFrame:
    """A frame with both sources' labels; ``agreement`` is the share 0..1 of equal labels.

    ``differs`` (H, W) marks the pixels whose labels differ; unlabelled is a label here.
    """

    seconds: float
    image: StampedImage
    first: FrameLabels
    second: FrameLabels
    agreement: float
    iou: NDArray[np.float64]
    differs: NDArray[np.bool_]


class DifferenceMap:
    """Where in the image labels differ: the share of the frames, on a grid of 96 columns."""

    def __init__(self) -> None:
        self._sum: NDArray[np.float64] | None = None
        self._frames = 0

    def add(self, differs: NDArray[np.bool_]) -> None:
        """Add a frame; one of another shape than the first is stretched to it."""
        if self._sum is None:
            height, width = differs.shape
            columns = min(MAP_WIDTH, width)
            self._sum = np.zeros((max(1, round(height * columns / width)), columns))
        size = self._sum.shape[1], self._sum.shape[0]
        small = cv2.resize(differs.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        self._sum += small
        self._frames += 1

    @property
    def shares(self) -> NDArray[np.float64]:
        """The shares (h, w) 0..1; (1, 1) of 0 before the first frame."""
        return np.zeros((1, 1)) if self._sum is None else self._sum / self._frames


class Comparison:
    """The figures of a comparison so far, in memory that does not grow with the sequence.

    ``matrix`` has the first source's classes in its rows and the second's in its columns; pixels
    that either leaves unlabelled are not in it.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.frames = 0
        self.equal_pixels = 0
        self.pixels = 0
        self.matrix = ConfusionMatrix(len(taxonomy.classes))
        self.series = OverTime(COLUMNS)
        self.where = DifferenceMap()
        self.error_counts: Counter[str] = Counter()
        self.first_ns: int | None = None
        self.seconds = 0.0

    @property
    def agreement(self) -> float:
        """The share of all pixels whose labels are equal."""
        return self.equal_pixels / self.pixels if self.pixels else math.nan

    def add(self, image: StampedImage, first: FrameLabels, second: FrameLabels) -> ComparedFrame:
        """Compare the two sources of labels of an image."""
        self.first_ns = image.time_ns if self.first_ns is None else self.first_ns
        seconds = (image.time_ns - self.first_ns) / 1e9
        self.seconds = max(seconds, self.seconds)
        own = self._count(first.labels, second.labels)
        differs = np.asarray(first.labels != second.labels)
        equal = differs.size - int(np.count_nonzero(differs))
        self.frames += 1
        self.equal_pixels += equal
        self.pixels += differs.size
        self.where.add(differs)
        share = equal / differs.size
        frame = ComparedFrame(seconds, image, first, second, share, own.iou, differs)
        sure = first.mean_confidence, second.mean_confidence
        latencies = first.latency_ms, second.latency_ms
        self.series.add(seconds, (frame.agreement, own.mean_iou, *sure, *latencies))
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON holds them."""
        names = self.taxonomy.classes
        return {
            'frames': self.frames,
            'seconds': round(self.seconds, 6),
            'classes': list(names),
            'agreement': rounded(self.agreement),
            'mean_iou': rounded(self.matrix.mean_iou),
            'iou': by_name(names, self.matrix.iou),
            'confusion': self.matrix.counts.tolist(),
            'differences': np.round(self.where.shares, 4).tolist(),
            'error_counts': dict(self.error_counts),
            'over_time': self.series.to_dict(),
        }

    def _count(self, first: Labels, second: Labels) -> ConfusionMatrix:
        own = ConfusionMatrix(self.matrix.classes)
        both = (first < own.classes) & (second < own.classes)
        own.add(first[both], second[both])
        self.matrix.merge(own)
        return own


def compare_sources(
    images: ImageSequence,
    first: LabelSource,
    second: LabelSource,
    on_frame: Callable[[ComparedFrame], None] | None = None,
) -> Comparison:
    """Take the labels of the images of a sequence twice and compare; ``on_frame`` is called with each frame.

    Raises:
        LemoreError: the two know other classes, no image has labels of both, or a model failed.
    """
    if first.taxonomy.classes != second.taxonomy.classes:
        msg = (
            f'{first.description} has the classes {_some(first.taxonomy)}, {second.description} '
            f'{_some(second.taxonomy)}: only labels of the same classes can be compared'
        )
        raise BagError(msg)
    comparison = Comparison(first.taxonomy)
    for image, next_ns in images.images():
        one, other = (source.labels_of(image, next_ns) for source in (first, second))
        if one is None or other is None:
            comparison.error_counts[UNEQUAL] += (one is None) != (other is None)
            continue
        frame = comparison.add(image, one, other)
        if on_frame is not None:
            on_frame(frame)
    comparison.error_counts += images.error_counts + first.error_counts + second.error_counts
    if not comparison.frames:
        msg = (
            f'no image of {images.topic.name} in {images.path} has labels of both '
            f'{first.description} and {second.description}: check that they belong together, or raise --tolerance-ms'
        )
        raise BagError(msg)
    return comparison


def _some(taxonomy: Taxonomy) -> str:
    names = taxonomy.classes
    return f'{", ".join(names[:3])}{", …" * (len(names) > 3)} ({len(names)})'
