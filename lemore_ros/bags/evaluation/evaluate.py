"""Measures the labels of a sequence: against the ground truth, over time, and from frame to frame."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lemore_core.evaluation.evaluate import ImageResult
from lemore_core.evaluation.metrics import rounded
from lemore_core.evaluation.over_time import OverTime
from lemore_core.evaluation.scores import Scores
from lemore_core.taxonomy import Labels, Taxonomy
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.evaluation.ground_truth import GroundTruth, to_size_of_ground_truth
from lemore_ros.bags.evaluation.image_sequence import ImageSequence, StampedImage
from lemore_ros.bags.evaluation.label_sources import FrameLabels, LabelSource
from lemore_ros.bags.evaluation.temporal import Flicker, TemporalConsistency

DOUBTFUL = 128  # of 255: the label is less probable than all others together
COLUMNS = (
    'mean_iou',
    'pixel_accuracy',
    'mean_confidence',
    'doubtful',
    'flicker',
    'compensated_flicker',
    'latency_ms',
)
OUT_OF_ORDER = 'images whose stamps are not after the one before'
WITHOUT_IMAGE = 'label images of the ground truth without an image'


class Compared(NamedTuple):
    """Labels at the size of their ground truth, both (H, W).

    The ground truth is unlabelled where the labels are, so that no class is blamed for it.
    """

    truth: Labels
    labels: Labels
    result: ImageResult


@dataclass(frozen=True)
class JudgedFrame:
    """A frame with everything known of it; ``seconds`` count from the first one."""

    seconds: float
    image: StampedImage
    frame_labels: FrameLabels
    compared: Compared | None
    flicker: Flicker | None

    @property
    def figures(self) -> tuple[float, ...]:
        """The figures in the order of ``COLUMNS``."""
        result = self.compared.result if self.compared else None
        confidence = self.frame_labels.confidence
        return (
            result.mean_iou if result else math.nan,
            result.pixel_accuracy if result else math.nan,
            self.frame_labels.mean_confidence,
            math.nan if confidence is None else float((confidence < DOUBTFUL).mean()),
            self.flicker.plain if self.flicker else math.nan,
            self.flicker.compensated if self.flicker else math.nan,
            self.frame_labels.latency_ms,
        )


class SequenceEvaluation:
    """The figures of a sequence so far, in memory that does not grow with it.

    ``left_unlabelled`` and ``labelled`` count the pixels that the ground truth labels: those that the labels left
    out, and all.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        classes = len(taxonomy.classes)
        self.taxonomy = taxonomy
        self.frames = 0
        self.frames_with_ground_truth = 0
        self.left_unlabelled = 0
        self.labelled = 0
        self.scores = Scores(classes)
        self.temporal = TemporalConsistency(classes)
        self.series = OverTime(COLUMNS)
        self.shares = OverTime(taxonomy.classes)
        self.error_counts: Counter[str] = Counter()
        self.first_ns: int | None = None
        self.last_ns: int | None = None

    @property
    def seconds(self) -> float:
        """From the first frame to the last one."""
        return 0.0 if self.first_ns is None else ((self.last_ns or 0) - self.first_ns) / 1e9

    def add(
        self, image: StampedImage, frame_labels: FrameLabels, truth: Labels | None
    ) -> JudgedFrame:
        """Measure a frame.

        Raises:
            BagError: the ground truth has another shape than the image.
        """
        self._note_time(image.time_ns)
        compared = None if truth is None else self._compare(frame_labels, truth)
        flicker = self.temporal.add(image.time_ns, image.rgb, frame_labels.labels)
        seconds = (image.time_ns - (self.first_ns or 0)) / 1e9
        judged = JudgedFrame(seconds, image, frame_labels, compared, flicker)
        self.frames += 1
        self.series.add(seconds, judged.figures)
        classes = len(self.taxonomy.classes)
        pixels = np.bincount(frame_labels.labels.ravel(), minlength=classes)[:classes]
        self.shares.add(seconds, pixels / frame_labels.labels.size)
        return judged

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON holds them; without ground truth, those that need one are missing."""
        means = self.series.mean()
        latency = self.series.course().mean['latency_ms']
        known = latency[~np.isnan(latency)]
        return {
            'frames': self.frames,
            'frames_with_ground_truth': self.frames_with_ground_truth,
            'seconds': round(self.seconds, 6),
            'classes': list(self.taxonomy.classes),
            **(self._ground_truth_figures() if self.frames_with_ground_truth else {}),
            'mean_confidence': rounded(means['mean_confidence']),
            'doubtful': rounded(means['doubtful']),
            'latency_ms': rounded(float(np.median(known)) if known.size else math.nan),
            'temporal': {
                'pairs': self.temporal.pairs,
                'breaks': self.temporal.breaks,
                'flicker': rounded(self.temporal.flicker),
                'compensated_flicker': rounded(self.temporal.compensated_flicker),
                'consistency': rounded(self.temporal.consistency),
            },
            'class_shares': {k: rounded(v) for k, v in self.shares.mean().items()},
            'error_counts': dict(self.error_counts),
            'over_time': self.series.to_dict(),
        }

    @property
    def unlabelled_share(self) -> float:
        """Of the pixels that the ground truth labels, the share that the labels leave out."""
        return self.left_unlabelled / self.labelled if self.labelled else math.nan

    def _ground_truth_figures(self) -> dict[str, Any]:
        return {
            **self.scores.to_dict(self.taxonomy.classes),
            'left_unlabelled': rounded(self.unlabelled_share),
        }

    def _note_time(self, time_ns: int) -> None:
        if self.last_ns is not None and time_ns <= self.last_ns:
            self.error_counts[OUT_OF_ORDER] += 1
        self.first_ns = time_ns if self.first_ns is None else self.first_ns
        self.last_ns = max(time_ns, self.last_ns or time_ns)

    def _compare(self, frame_labels: FrameLabels, truth: Labels) -> Compared:
        labels = to_size_of_ground_truth(frame_labels.labels, truth)
        confidence = frame_labels.confidence
        if confidence is not None:
            confidence = to_size_of_ground_truth(confidence, truth)
        classes = len(self.taxonomy.classes)
        labelled, answered = truth < classes, labels < classes
        self.labelled += int(np.count_nonzero(labelled))
        self.left_unlabelled += int(np.count_nonzero(labelled & ~answered))
        judged = truth.copy()
        judged[~answered] = self.taxonomy.unlabelled
        own = self.scores.add(judged, labels, confidence)
        self.frames_with_ground_truth += 1
        return Compared(truth, labels, ImageResult.from_matrix(Path(), own))


def evaluate_sequence(
    images: ImageSequence,
    source: LabelSource,
    truth: GroundTruth | None = None,
    on_frame: Callable[[JudgedFrame], None] | None = None,
) -> SequenceEvaluation:
    """Take the labels of the images of a sequence and measure them; ``on_frame`` is called with each frame.

    Raises:
        LemoreError: the sequence holds no images, the ground truth fits none of them, or the model failed.
    """
    evaluation = SequenceEvaluation(source.taxonomy)
    for image, next_ns in images.images():
        frame_labels = source.labels_of(image, next_ns)
        if frame_labels is None:
            continue
        right = None if truth is None else truth.at(image.time_ns, next_ns)
        judged = evaluation.add(image, frame_labels, right)
        if on_frame is not None:
            on_frame(judged)
    evaluation.error_counts += images.error_counts + source.error_counts
    _require_figures(evaluation, images, source, truth)
    return evaluation


def _require_figures(
    evaluation: SequenceEvaluation,
    images: ImageSequence,
    source: LabelSource,
    truth: GroundTruth | None,
) -> None:
    if evaluation.first_ns is None or evaluation.last_ns is None:
        msg = (
            f'no image of {images.topic.name} in {images.path} has labels of {source.description}: '
            'check that they belong together, or raise --tolerance-ms'
        )
        raise BagError(msg)
    if truth is not None:
        truth.require_matches(evaluation.first_ns, evaluation.last_ns)
        # what lies outside of a part has no image there, and nothing is wrong with it
        if truth.matcher.passed and images.is_whole:
            evaluation.error_counts[WITHOUT_IMAGE] += truth.matcher.passed
