"""The report of a sequence: headline figures, plots over time, classes, and the worst frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.over_time import OverTime
from lemore_core.evaluation.report.content import Report, ReportImage, ReportSection, Table
from lemore_core.evaluation.report.sections import score_figures, score_sections
from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.evaluation.evaluate import SequenceEvaluation

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
