"""The frames of a sequence that went worst, drawn for the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report.content import Pane, ReportImage
from lemore_core.evaluation.report.images import (
    UNLABELLED,
    WRONG,
    ground_truth_panes,
    labels_pane,
    marks_pane,
    report_image,
)
from lemore_core.evaluation.report.worst import WorstImages
from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.evaluation.evaluate import DOUBTFUL, JudgedFrame

LOWEST_IOU = 'low mIoU'
LOWEST_CONFIDENCE = 'low confidence'
MOST_FLICKER = 'flicker'
APART_S = 0.5


def worst_frames(
    limit: int, taxonomy: Taxonomy, *, has_ground_truth: bool = False
) -> WorstImages[JudgedFrame]:
    """Return what keeps the worst frames of an evaluation: low mIoU, low confidence, flicker.

    ``has_ground_truth`` says that the frames are filtered by IoU; those without ground truth then have none.
    """

    def badness(judged: JudgedFrame) -> Mapping[str, float]:
        return {
            LOWEST_IOU: judged.compared.result.mean_iou if judged.compared else math.nan,
            LOWEST_CONFIDENCE: judged.mean_confidence,
            MOST_FLICKER: -judged.flicker.compensated if judged.flicker else math.nan,
        }

    draw = partial(draw_frame, taxonomy=taxonomy, has_ground_truth=has_ground_truth)
    return WorstImages(limit, badness, draw, place=attrgetter('seconds'), apart=APART_S)


def draw_frame(
    judged: JudgedFrame, taxonomy: Taxonomy, *, has_ground_truth: bool = False
) -> ReportImage:
    """Return a frame as the report shows it: bare, labels (and ground truth), doubt and errors."""
    scores = _scores(judged, taxonomy)
    if has_ground_truth and not judged.compared:
        scores = np.full_like(scores, np.nan)
    return report_image(
        frame_name(judged.seconds, judged.image.time_ns),
        judged.image.rgb,
        _panes(judged, taxonomy),
        _figures(judged),
        scores,
    )


def frame_name(seconds: float, time_ns: int) -> str:
    """Return what a frame is called: the seconds from the start, and its stamp."""
    return f'{seconds:.2f} s (stamp {time_ns // 10**9}.{time_ns % 10**9:09d})'


def _panes(judged: JudgedFrame, taxonomy: Taxonomy) -> list[Pane]:
    compared, flicker, confidence = judged.compared, judged.flicker, judged.frame_labels.confidence
    panes: list[Pane] = []
    if compared is None:
        panes.append(labels_pane(taxonomy, {'labels': judged.frame_labels.labels}))
    else:
        panes += ground_truth_panes(taxonomy, compared.labels, compared.truth)
    if confidence is not None:
        panes.append(marks_pane('confidence below 50 % red', (confidence < DOUBTFUL, WRONG)))
    if flicker is not None:
        caption = 'changed since the last frame red, motion unsure dark'
        panes.append(marks_pane(caption, (flicker.changed, WRONG), (flicker.unsure, UNLABELLED)))
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


def _scores(judged: JudgedFrame, taxonomy: Taxonomy) -> NDArray[np.float64]:
    """Return what the class filter sorts by: IoU, or confidence, or the share of the image."""
    if judged.compared is not None:
        return judged.compared.result.iou
    labels, classes = judged.frame_labels.labels.ravel(), len(taxonomy.classes)
    pixels: NDArray[Any] = np.bincount(labels, minlength=classes)[:classes]
    if judged.frame_labels.confidence is None:
        return np.where(pixels > 0, pixels / labels.size, np.nan)
    sums = np.bincount(labels, judged.frame_labels.confidence.ravel() / 255, classes)[:classes]
    with np.errstate(invalid='ignore'):
        return np.asarray(sums / pixels, np.float64)
