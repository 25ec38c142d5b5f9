"""Build the report of a drive: figures, plots over time, scores, and the worst frames."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import attrgetter

import numpy as np

from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report import (
    Report,
    Section,
    Table,
    heat_map,
    score_figures,
    score_sections,
)
from lemore_core.evaluation.worst import (
    GROUND_TRUTH,
    RED,
    Pane,
    ReportImage,
    WorstImages,
    error_panes,
    labels_pane,
    marks_pane,
    report_image,
)
from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.evaluation.evaluate import DriveEvaluation, JudgedFrame
from lemore_ros.bags.evaluation.label_sources import DOUBTFUL

# reasons why a frame is shown: the figure, and the sign that makes lower worse
REASONS = {
    'low mIoU': ('mean_iou', 1),
    'low confidence': ('mean_confidence', 1),
    'flicker': ('flicker', -1),
}
DIFFERENCE = {'low agreement': ('agreement', 1)}
APART_S = 0.5
ZOOM = (
    'Drag over a stretch of time, or choose the wheel above a plot, to zoom all plots; the round '
    'arrow resets them.'
)
FLICKER = (
    'Flicker is the share of the pixels whose label differs from the frame before; motion counts.'
)
Names = tuple[str, str]


def drive_report(
    evaluation: DriveEvaluation,
    images: list[ReportImage],
    *,
    title: str,
    facts: Mapping[str, str],
    names: Names | None = None,
) -> Report:
    """Return the report of a drive; ``names`` are those of two sources that are compared."""
    errors = {what: f'{number:,}' for what, number in evaluation.error_counts.items()}
    if evaluation.flicker.breaks:
        errors['frames not compared with the one before'] = f'{evaluation.flicker.breaks:,}'
    return Report(
        title,
        evaluation.taxonomy,
        _headline(evaluation),
        {**facts, **errors},
        _sections(evaluation, names or (GROUND_TRUTH, 'labels')),
        images,
        'Frames that differ most' if evaluation.is_comparison else 'Worst frames',
        f'{len(images)} of {evaluation.frames} frames, the worst first, no two for one reason '
        'within half a second.',
    )


def worst_frames(
    limit: int, taxonomy: Taxonomy, names: Names | None = None
) -> WorstImages[JudgedFrame]:
    """Return an observer that keeps the worst frames: low mIoU, low confidence, flicker.

    ``names`` are those of two sources that are compared: then the frames of least agreement.
    """
    reasons = REASONS if names is None else DIFFERENCE

    def badness(frame: JudgedFrame) -> dict[str, float]:
        return {why: sign * frame.figures[key] for why, (key, sign) in reasons.items()}

    draw = partial(_draw, taxonomy=taxonomy, names=names)
    return WorstImages(limit, badness, draw, place=attrgetter('seconds'), apart=APART_S)


def _headline(evaluation: DriveEvaluation) -> dict[str, str]:
    means = evaluation.series.mean()
    figures = {'frames': f'{evaluation.frames:,}', 'duration': f'{evaluation.seconds:.1f} s'}
    if evaluation.is_comparison:
        figures['agreement'] = percent(means['agreement'])
        return {**figures, 'mean IoU of the two': percent(evaluation.scores.matrix.mean_iou)}
    if evaluation.frames_compared:
        figures['frames with ground truth'] = f'{evaluation.frames_compared:,}'
        figures |= score_figures(evaluation.scores)
        figures['left unlabelled'] = percent(evaluation.unlabelled_share or np.nan)
    figures |= {
        'mean confidence': percent(means['mean_confidence']),
        'flicker': percent(evaluation.flicker.share),
        'median latency': _milliseconds(evaluation.latency_ms),
    }
    return {name: text for name, text in figures.items() if text != '-'}


def _sections(evaluation: DriveEvaluation, names: Names) -> list[Section]:
    from lemore_core.evaluation.plots import PLAIN, Row, time_plots

    taxonomy, shares = evaluation.taxonomy, evaluation.shares
    reference, labels = names
    doubt = {} if evaluation.is_comparison else {'pixels below 50 %': 'doubtful'}
    # columns that are unknown are left out
    rows = [
        Row(f'against {reference}', {'mIoU': 'mean_iou', 'pixel accuracy': 'pixel_accuracy'}),
        Row('confidence', {reference: 'reference_confidence', labels: 'mean_confidence'} | doubt),
        Row('flicker', {labels: 'flicker'}),
        Row('latency in ms', {reference: 'reference_latency_ms', labels: 'latency_ms'}, PLAIN),
    ]
    plot = time_plots(rows, evaluation.series, shares, taxonomy)
    about = [ZOOM] if evaluation.is_comparison else [FLICKER, ZOOM]
    columns = zip(taxonomy.classes, shares.rows.T[1:], strict=True)
    table = [
        (name, *map(percent, (column.mean(), column.min(), column.max())))
        for name, column in columns
    ]
    sections = [
        Section('Over time', [*about, plot]),
        Section(
            f'Class shares ({labels})', [Table(('class', 'mean share', 'least', 'most'), table)]
        ),
    ]
    if evaluation.frames_compared:
        where = heat_map(evaluation.where.shares, 'share of the frames with different labels')
        sections.append(Section('Where they differ', [where]))
        sections += score_sections(taxonomy, evaluation.scores, *names)
    return sections


def _draw(frame: JudgedFrame, taxonomy: Taxonomy, names: Names | None) -> ReportImage:
    labels, confidence = frame.labels.labels, frame.labels.confidence
    panes: list[Pane] = []
    if frame.reference is None or frame.differs is None:
        panes.append(labels_pane(taxonomy, {'labels': labels}))
    elif names is None:
        panes += error_panes(taxonomy, labels, frame.reference)
    else:
        panes.append(labels_pane(taxonomy, {names[0]: frame.reference, names[1]: labels}))
        panes.append(marks_pane('differences red', (frame.differs, RED)))
    if names is None and confidence is not None:
        panes.append(marks_pane('confidence below 50 % red', (confidence < DOUBTFUL, RED)))
    if frame.changed is not None:
        panes.append(marks_pane('changed since the last frame red', (frame.changed, RED)))
    seconds, nanoseconds = divmod(frame.image.time_ns, 10**9)
    name = f'{frame.seconds:.2f} s (stamp {seconds}.{nanoseconds:09d})'
    return report_image(name, frame.image.rgb, panes, _figures(frame, names))


def _figures(frame: JudgedFrame, names: Names | None) -> dict[str, str]:
    if names is not None:
        return {'agreement': percent(frame.figures['agreement'])}
    shown = {
        'mIoU': 'mean_iou',
        'pixel accuracy': 'pixel_accuracy',
        'mean confidence': 'mean_confidence',
        'flicker': 'flicker',
    }
    figures = {name: percent(frame.figures[key]) for name, key in shown.items()}
    figures['latency'] = _milliseconds(frame.labels.latency_ms)
    return {name: text for name, text in figures.items() if text != '-'}


def _milliseconds(value: float) -> str:
    return '-' if np.isnan(value) else f'{value:.1f} ms'
