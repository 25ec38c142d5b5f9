"""The report of a sequence: headline figures, plots over time, classes, and the worst frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.over_time import OverTime
from lemore_core.evaluation.report.content import Pane, Report, ReportImage, ReportSection, Table
from lemore_core.evaluation.report.images import (
    UNLABELLED,
    WRONG,
    ground_truth_panes,
    labels_pane,
    marks_pane,
    report_image,
)
from lemore_core.evaluation.report.sections import score_figures, score_sections
from lemore_core.evaluation.report.worst import WorstImages
from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.evaluation.evaluate import DOUBTFUL, JudgedFrame, SequenceEvaluation

LOWEST_IOU = 'low mIoU'
LOWEST_CONFIDENCE = 'low confidence'
MOST_FLICKER = 'flicker'
APART_S = 0.5
HOW_TO_ZOOM = (
    'Drag over a stretch of time, or choose the wheel above a plot, to zoom all plots; the round '
    'arrow resets them.'
)
ABOUT_FLICKER = (
    'Flicker is the share of the pixels whose label is another than in the frame before. Along the '
    'motion, the labels of the frame before are first carried where the optical flow says that '
    'they went, and only pixels are counted where it says the same forwards and backwards.'
)


def evaluation_report(
    evaluation: SequenceEvaluation,
    images: tuple[ReportImage, ...],
    *,
    title: str,
    facts: Mapping[str, str],
) -> Report:
    """Return the report of a sequence; ``images`` are its worst frames.

    Raises:
        ReportError: Bokeh is not installed.
    """
    taxonomy = evaluation.taxonomy
    with_ground_truth = evaluation.frames_with_ground_truth > 0
    sections = [_over_time(evaluation), _shares(evaluation.shares, taxonomy)]
    if with_ground_truth:
        sections += score_sections(taxonomy, evaluation.scores)
    return Report(
        title=title,
        figures=_headline(evaluation),
        facts={**facts, **error_facts(evaluation.error_counts), **_breaks(evaluation)},
        sections=tuple(sections),
        images=images,
        images_title='Worst frames',
        images_note=(
            f'{len(images)} of {evaluation.frames} frames, each with the reason why it was chosen, '
            'no two for one reason within half a second. Choose a class to see only those that have it.'
        ),
        taxonomy=taxonomy,
        score_name=_score_name(evaluation),
    )


def error_facts(error_counts: Mapping[str, int]) -> dict[str, str]:
    """Return what went wrong as facts of a report."""
    return {what: f'{number:,}' for what, number in error_counts.items()}


def _breaks(evaluation: SequenceEvaluation) -> dict[str, str]:
    breaks = evaluation.temporal.breaks
    return {'frames not compared with the one before': f'{breaks:,}'} if breaks else {}


def _score_name(evaluation: SequenceEvaluation) -> str:
    if evaluation.frames_with_ground_truth:
        return 'IoU'
    known = not np.isnan(evaluation.series.mean()['mean_confidence'])
    return 'mean confidence' if known else 'share'


def _headline(evaluation: SequenceEvaluation) -> dict[str, str]:
    values = evaluation.to_dict()
    figures = {'frames': f'{evaluation.frames:,}', 'duration': f'{evaluation.seconds:.1f} s'}
    if evaluation.frames_with_ground_truth:
        figures['frames with ground truth'] = f'{evaluation.frames_with_ground_truth:,}'
        figures |= score_figures(evaluation.scores)
        if evaluation.left_unlabelled:
            figures['left unlabelled'] = percent(evaluation.unlabelled_share)
    temporal = evaluation.temporal
    shares = {
        'mean confidence': evaluation.series.mean()['mean_confidence'],
        'flicker': temporal.flicker,
        'flicker along the motion': temporal.compensated_flicker,
        'temporal consistency': temporal.consistency,
    }
    figures |= {name: percent(value) for name, value in shares.items()}
    if values['latency_ms'] is not None:
        figures['median latency'] = f'{values["latency_ms"]:.1f} ms'
    return {name: text for name, text in figures.items() if text != '-'}


def _over_time(evaluation: SequenceEvaluation) -> ReportSection:
    from lemore_core.evaluation.report.time_plots import PLAIN, Row, time_plots

    rows = (
        Row('against ground truth', {'mIoU': 'mean_iou', 'pixel accuracy': 'pixel_accuracy'}),
        Row('confidence', {'mean': 'mean_confidence', 'pixels below 50 %': 'doubtful'}),
        Row('flicker', {'plain': 'flicker', 'along the motion': 'compensated_flicker'}),
        Row('latency in ms', {'latency': 'latency_ms'}, PLAIN),
    )
    plot = time_plots(rows, evaluation.series, evaluation.shares, evaluation.taxonomy)
    return ReportSection('Over time', (ABOUT_FLICKER, HOW_TO_ZOOM, plot))


def _shares(shares: OverTime, taxonomy: Taxonomy) -> ReportSection:
    course, means = shares.course(), shares.mean()
    rows = tuple(
        (name, *(percent(float(v)) for v in (means[name], *_range(course, name))))
        for name in taxonomy.classes
    )
    columns = ('class', 'mean share', 'least', 'most')
    return ReportSection('Class shares', (Table('Shares of the image', columns, rows),))


def _range(course: Any, name: str) -> tuple[float, float]:
    return float(course.low[name].min()), float(course.high[name].max())


def worst_frames(
    limit: int, taxonomy: Taxonomy, *, has_ground_truth: bool = False
) -> WorstImages[JudgedFrame]:
    """Return what keeps the worst frames of an evaluation: low mIoU, low confidence, flicker.

    ``has_ground_truth`` says that the frames are filtered by IoU; those without ground truth then have none.
    """

    def badness(judged: JudgedFrame) -> Mapping[str, float]:
        return {
            LOWEST_IOU: judged.compared.result.mean_iou if judged.compared else math.nan,
            LOWEST_CONFIDENCE: judged.frame_labels.mean_confidence,
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
