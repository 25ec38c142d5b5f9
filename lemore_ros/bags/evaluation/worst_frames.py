"""The frames of a sequence that went worst, drawn for the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report.content import Pane, ReportImage
from lemore_core.evaluation.report.encode import fit_width, photo_uri
from lemore_core.evaluation.report.panes import (
    IMAGE_WIDTH,
    UNLABELLED,
    WRONG,
    Marked,
    Named,
    class_scores,
    labels_pane,
    marks_pane,
)
from lemore_core.evaluation.report.worst import Worst
from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.evaluation.evaluate import DOUBTFUL, JudgedFrame

LOWEST_IOU = 'low mIoU'
LOWEST_CONFIDENCE = 'low confidence'
MOST_FLICKER = 'flicker'
APART_S = 0.5


class Timed(Protocol):
    """What is judged, at some seconds from the first one."""

    @property
    def seconds(self) -> float:
        """Seconds from the first frame."""


F = TypeVar('F', bound=Timed)


class WorstByReason(Generic[F]):
    """Observes frames and keeps the worst ones for each of several reasons, drawn for the report.

    ``badness`` gives a number by reason, the lower the worse, NaN for not to be judged. Images of
    one reason are half a second apart at least.
    """

    def __init__(
        self,
        limit: int,
        badness: Callable[[F], Mapping[str, float]],
        draw: Callable[[F], ReportImage],
    ) -> None:
        self._limit = limit
        self._badness = badness
        self._draw = draw
        self._worst: dict[str, Worst] = {}

    def __call__(self, frame: F) -> None:
        """Keep the frame for each reason for which it is among the worst so far."""
        draw_once = lru_cache(1)(lambda: self._draw(frame))
        for reason, value in self._badness(frame).items():
            if not math.isnan(value):
                worst = self._worst.setdefault(reason, Worst(self._limit, APART_S))
                worst.offer((value, f'{frame.seconds:020.9f}'), draw_once, frame.seconds)

    @property
    def images(self) -> tuple[ReportImage, ...]:
        """The images, each once, those of the first reason first."""
        found: dict[float, ReportImage] = {}
        ranks: dict[float, dict[str, int]] = {}
        for reason, worst in self._worst.items():
            for rank, kept in enumerate(worst.kept):
                found.setdefault(kept.place, kept.image)
                ranks.setdefault(kept.place, {})[reason] = rank
        return tuple(replace(image, ranks=ranks[place]) for place, image in found.items())


def worst_frames(
    limit: int, taxonomy: Taxonomy, *, has_truth: bool = False
) -> WorstByReason[JudgedFrame]:
    """Return what keeps the worst frames of an evaluation: low mIoU, low confidence, flicker.

    ``has_truth`` says that the frames are filtered by IoU; those without truth then have none.
    """

    def badness(judged: JudgedFrame) -> Mapping[str, float]:
        return {
            LOWEST_IOU: judged.compared.result.mean_iou if judged.compared else math.nan,
            LOWEST_CONFIDENCE: judged.mean_confidence,
            MOST_FLICKER: -judged.flicker.compensated if judged.flicker else math.nan,
        }

    draw = partial(draw_frame, taxonomy=taxonomy, has_truth=has_truth)
    return WorstByReason(limit, badness, draw)


def draw_frame(judged: JudgedFrame, taxonomy: Taxonomy, *, has_truth: bool = False) -> ReportImage:
    """Return a frame as the report shows it: bare, labels (and truth), what is in doubt or wrong."""
    size = fit_width(judged.image.size, IMAGE_WIDTH)
    return ReportImage(
        name=frame_name(judged.seconds, judged.image.time_ns),
        photo=photo_uri(judged.image.rgb, size),
        width=size[1],
        height=size[0],
        panes=(Pane('image'), *_panes(judged, taxonomy, size)),
        figures=_figures(judged),
        scores={} if has_truth and not judged.compared else _scores(judged, taxonomy),
    )


def frame_name(seconds: float, time_ns: int) -> str:
    """Return what a frame is called: the seconds from the start, and its stamp."""
    return f'{seconds:.2f} s (stamp {time_ns // 10**9}.{time_ns % 10**9:09d})'


def _panes(judged: JudgedFrame, taxonomy: Taxonomy, size: tuple[int, int]) -> list[Pane]:
    compared, flicker, confidence = judged.compared, judged.flicker, judged.frame_labels.confidence
    panes = []
    if compared is None:
        panes.append(labels_pane((Named('labels', judged.frame_labels.labels),), taxonomy, size))
    else:
        shown = Named('labels', compared.labels), Named('truth', compared.truth, has_gaps=True)
        panes.append(labels_pane(shown, taxonomy, size))
        unlabelled = compared.truth >= len(taxonomy.classes)
        marks = Marked(compared.labels != compared.truth, WRONG), Marked(unlabelled, UNLABELLED)
        panes.append(marks_pane('errors red, unlabelled dark', marks, size))
    if confidence is not None:
        doubtful = Marked(confidence < DOUBTFUL, WRONG)
        panes.append(marks_pane('confidence below 50 % red', (doubtful,), size))
    if flicker is not None:
        marks = Marked(flicker.changed, WRONG), Marked(flicker.unsure, UNLABELLED)
        panes.append(
            marks_pane('changed since the last frame red, motion unsure dark', marks, size)
        )
    return panes


def _figures(judged: JudgedFrame) -> dict[str, str]:
    mean_iou, accuracy, confidence, _, flicker, compensated, latency = judged.figures
    shares = {
        'mIoU': mean_iou,
        'pixel accuracy': accuracy,
        'mean confidence': confidence,
        'flicker': flicker,
        'along the motion': compensated,
    }
    known = {name: percent(value) for name, value in shares.items() if not math.isnan(value)}
    return known if math.isnan(latency) else {**known, 'latency': f'{latency:.1f} ms'}


def _scores(judged: JudgedFrame, taxonomy: Taxonomy) -> dict[int, float]:
    """Return what the class filter sorts by: IoU, or confidence, or the share of the image."""
    if judged.compared is not None:
        return class_scores(judged.compared.result.iou)
    labels, classes = judged.frame_labels.labels.ravel(), len(taxonomy.classes)
    pixels: NDArray[Any] = np.bincount(labels, minlength=classes)[:classes]
    if judged.frame_labels.confidence is None:
        return class_scores(np.where(pixels > 0, pixels / labels.size, np.nan))
    sums = np.bincount(labels, judged.frame_labels.confidence.ravel() / 255, classes)[:classes]
    with np.errstate(invalid='ignore'):
        return class_scores(np.asarray(sums / pixels, np.float64))
