"""Evaluate the labels of a drive: against ground truth or other labels, and from frame to frame."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.timeline import Timeline
from lemore_core.evaluation.evaluate import ImageResult
from lemore_core.evaluation.metrics import Scores, TimeSeries, by_name, rounded
from lemore_core.familiarity import UNFAMILIAR
from lemore_core.taxonomy import Labels, Taxonomy
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.evaluation.image_sequence import ImageSequence, StampedImage
from lemore_ros.bags.evaluation.label_sources import DOUBTFUL, FrameLabels, GroundTruth, LabelSource

MAP_WIDTH = 96
LONGEST_GAP_S = 1.0  # between frames that are compared
SCORES = 'mean_iou', 'pixel_accuracy', 'agreement'
SCENE = 'familiarity', 'sureness'
COLUMNS = (*SCORES, 'mean_confidence', 'doubtful', 'flicker', 'latency_ms', *SCENE)
OUT_OF_ORDER = 'images whose stamps are not after the one before'
UNEQUAL = 'images that only one of the two labels'


@dataclass(frozen=True)
class JudgedFrame:
    """A frame with its figures by ``COLUMNS``; ``seconds`` from the first frame, without jumps.

    ``labels`` have the size of the ``reference`` (H, W) if there is one; ``changed`` (H, W) marks
    pixels unequal to the frame before.
    """

    seconds: float
    image: StampedImage
    labels: FrameLabels
    reference: Labels | None
    changed: NDArray[np.bool_] | None
    figures: dict[str, float]


class DifferenceMap:
    """Share of the frames whose labels differ, on a grid of 96 columns over the image."""

    def __init__(self) -> None:
        self._sum: NDArray[np.float64] = np.zeros((1, 1))
        self._frames = 0

    def add(self, differs: NDArray[np.bool_]) -> None:
        """Add a frame; one of another shape than the first is stretched to it."""
        if not self._frames:
            height, width = differs.shape
            columns = min(MAP_WIDTH, width)
            self._sum = np.zeros((max(1, round(height * columns / width)), columns))
        size = self._sum.shape[1], self._sum.shape[0]
        self._sum += cv2.resize(differs.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        self._frames += 1

    @property
    def shares(self) -> NDArray[np.float64]:
        """The shares (h, w) 0..1; (1, 1) of 0 before the first frame."""
        return self._sum / max(self._frames, 1)


class Flicker:
    """Compare the labels of each frame with the frame before; motion counts as flicker.

    ``breaks`` counts frames not compared: a second late, out of order, or of another size.
    """

    def __init__(self, classes: int) -> None:
        self.breaks = 0
        self._classes = classes
        self._compared = self._changed = 0
        self._last: tuple[int, Labels] | None = None

    @property
    def share(self) -> float:
        """Share 0..1 of the compared pixels whose label changed; NaN without any."""
        return self._changed / self._compared if self._compared else math.nan

    def add(self, time_ns: int, labels: Labels) -> tuple[float, NDArray[np.bool_] | None]:
        """Return share and mask of the changed pixels, NaN and None without comparison."""
        last, self._last = self._last, (time_ns, labels)
        if last is None:
            return math.nan, None
        if not 0 < time_ns - last[0] <= LONGEST_GAP_S * 1e9 or last[1].shape != labels.shape:
            self.breaks += 1
            return math.nan, None
        both = (last[1] < self._classes) & (labels < self._classes)
        changed = both & (last[1] != labels)
        pixels, number = int(both.sum()), int(changed.sum())
        self._compared += pixels
        self._changed += number
        return (number / pixels if pixels else math.nan), changed


class DriveEvaluation:
    """Figures of a drive, in memory that does not grow with its images.

    ``is_comparison`` says that the reference is other labels instead of ground truth: unlabelled
    is a label then, and flicker and calibration are left out; ``alone`` are the evaluations of the
    reference and of the labels, each by itself.
    """

    def __init__(self, taxonomy: Taxonomy, *, is_comparison: bool = False) -> None:
        self.taxonomy, self.is_comparison = taxonomy, is_comparison
        self.alone = tuple(DriveEvaluation(taxonomy) for _ in range(2 * is_comparison))
        self.frames = self.frames_compared = 0
        self.scores = Scores(len(taxonomy.classes))
        self.flicker = Flicker(len(taxonomy.classes))
        self.series = TimeSeries(COLUMNS)
        self.shares = TimeSeries(taxonomy.classes)
        self.where = DifferenceMap()
        self.error_counts: Counter[str] = Counter()
        self.first_ns, self._times = 0, Timeline()
        self._size = 0, 0
        self._labelled = 0

    def add(
        self,
        image: StampedImage,
        labels: FrameLabels,
        reference: FrameLabels | None,
        true: FrameLabels | None = None,
    ) -> JudgedFrame:
        """Measure a frame; each side of a comparison against the ``true`` labels."""
        for one, own in zip(self.alone, (reference, labels), strict=False):
            if own is not None:
                one.add(image, own, true)
        if not self.frames:
            self.first_ns, self._size = image.time_ns, image.size
        self.error_counts[OUT_OF_ORDER] += not self._times.add(image.time_ns)
        self.frames += 1
        seconds = self._times.time_ns / 1e9
        changed = truth = None
        figures = dict.fromkeys(COLUMNS, math.nan)
        figures |= {name: getattr(labels, name) for name in ('latency_ms', *SCENE)}
        if not self.is_comparison:
            figures['flicker'], changed = self.flicker.add(image.time_ns, labels.labels)
        if labels.confidence is not None:
            figures['mean_confidence'] = float(labels.confidence.mean()) / 255
            figures['doubtful'] = float((labels.confidence < DOUBTFUL).mean())
        classes = len(self.taxonomy.classes)
        pixels = np.bincount(labels.labels.ravel(), minlength=classes)[:classes]
        self.shares.add(seconds, pixels / labels.labels.size)
        if reference is not None:
            truth = reference.labels
            _require_shape(labels.labels.shape, truth.shape)
            labels = labels.at_size((truth.shape[0], truth.shape[1]))
            figures |= self._compare(labels, truth)
        self.series.add(seconds, list(figures.values()))
        return JudgedFrame(seconds, image, labels, truth, changed, figures)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        classes, matrix = self.taxonomy.classes, self.scores.matrix
        means = {name: rounded(mean) for name, mean in self.series.mean().items()}
        seconds = self._times.time_ns / 1e9
        values: dict[str, Any] = {'frames': self.frames, 'seconds': round(seconds, 6)}
        values['image_size'] = '{1}x{0}'.format(*self._size)
        values['classes'] = list(classes)
        if self.frames_compared:
            values['differences'] = np.round(self.where.shares, 4).tolist()
        if self.is_comparison:
            values['agreement'] = means['agreement']
            values['mean_iou'] = rounded(matrix.mean_iou)
            values['iou'] = by_name(classes, matrix.iou)
            values['confusion'] = matrix.counts.tolist()
        else:
            if self.frames_compared:
                values |= self.scores.to_dict(classes)
                answered = int(matrix.counts.sum())
                share = 1 - answered / self._labelled if self._labelled else math.nan
                values['left_unlabelled'] = rounded(share)
            latency = self.series.points().mean['latency_ms']
            known = latency[~np.isnan(latency)]
            values |= {
                'frames_with_ground_truth': self.frames_compared,
                'mean_confidence': means['mean_confidence'],
                'doubtful': means['doubtful'],
                'latency_ms': rounded(float(np.median(known))) if known.size else None,
                **{name: means[name] for name in SCENE},
                'unfamiliar': rounded(self._unfamiliar_share()),
                'flicker': rounded(self.flicker.share),
                'frames_not_compared': self.flicker.breaks,
                'class_shares': {k: rounded(v) for k, v in self.shares.mean().items()},
            }
        values['error_counts'] = dict(+self.error_counts)
        return {**values, 'over_time': self.series.to_dict()}

    def _unfamiliar_share(self) -> float:
        familiarity = self.series.rows[:, 1 + COLUMNS.index('familiarity')]
        known = familiarity[~np.isnan(familiarity)]
        return float((known < UNFAMILIAR).mean()) if known.size else math.nan

    def _compare(self, labels: FrameLabels, truth: Labels) -> dict[str, float]:
        """Count labels of the size of their reference; return their figures."""
        labelled = truth < len(self.taxonomy.classes)
        differs = np.asarray(labels.labels != truth)
        if not self.is_comparison:
            differs &= labelled
        # no class is blamed for pixels that the labels leave out
        judged = truth.copy()
        judged[labels.labels >= len(self.taxonomy.classes)] = self.taxonomy.unlabelled
        confidence = None if self.is_comparison else labels.confidence
        result = ImageResult.from_matrix(Path(), self.scores.add(judged, labels.labels, confidence))
        self.where.add(differs)
        self._labelled += int(labelled.sum())
        self.frames_compared += 1
        agreement = 1 - float(differs.mean())
        scores = result.mean_iou, result.pixel_accuracy, agreement
        return dict(zip(SCORES, scores, strict=True))


def evaluate_drive(
    images: ImageSequence,
    source: LabelSource,
    reference: LabelSource | GroundTruth | None = None,
    on_frame: Callable[[JudgedFrame], object] = lambda _: None,
    truth: GroundTruth | None = None,
) -> DriveEvaluation:
    """Measure the labels of a drive's images; call ``on_frame`` with each.

    Where the reference is other labels, ``truth`` judges each side in ``alone``.
    """
    sides: list[LabelSource] = [source]
    if isinstance(reference, GroundTruth):
        truth = reference
    elif reference is not None:
        sides = [reference, source]
    sources = [*sides, *([] if truth is None else [truth])]
    _require_same_classes(sources)
    is_comparison = len(sides) > 1
    evaluation = DriveEvaluation(source.taxonomy, is_comparison=is_comparison)
    for image, next_ns in images.images():
        true = None if truth is None else truth.labels_of(image, next_ns)
        found = [side.labels_of(image, next_ns) for side in sides]
        labels, right = found[-1], found[0] if is_comparison else true
        if labels is not None and (right is not None or not is_comparison):
            on_frame(evaluation.add(image, labels, right, true))
        elif is_comparison:
            evaluation.error_counts[UNEQUAL] += (labels or right) is not None
    for one in (images, *sources):
        evaluation.error_counts += one.error_counts
    if not evaluation.frames:
        names = ' and '.join(one.description for one in sides)
        wanted = f'no image of {images.topic.name} in {images.path} has labels of'
        remedy = 'check that they belong together, or raise --tolerance-ms'
        reason = next((one.reason for one in sides if one.reason), remedy)
        msg = f'{wanted} {"both " * is_comparison}{names}: {reason}'
        raise BagError(msg)
    if truth is not None and not any(
        one.frames_compared for one in evaluation.alone or (evaluation,)
    ):
        raise truth.error(evaluation.first_ns)
    return evaluation


def _require_same_classes(sources: Sequence[LabelSource | GroundTruth]) -> None:
    if len({one.taxonomy.classes for one in sources}) > 1:
        texts = [
            f'{one.description} has {len(one.taxonomy.classes)} classes from '
            f'{one.taxonomy.classes[0]} to {one.taxonomy.classes[-1]}'
            for one in sources
        ]
        msg = f'{", ".join(texts)}: only labels of the same classes can be compared'
        raise BagError(msg)


def _require_shape(size: tuple[int, ...], true_size: tuple[int, ...]) -> None:
    (height, width), (true_height, true_width) = size, true_size
    # a pixel or a hundredth of rounding is allowed
    if abs(height * true_width / width - true_height) > max(1, 0.01 * true_height):
        sizes = f'the ground truth is {true_width}x{true_height} and the image {width}x{height}'
        msg = f'{sizes}: they differ in shape, so they are not of one camera'
        raise BagError(msg)
