"""Build the report of a drive: figures, plots over time, scores, and the worst frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report import Report, Section, heat_map, score_sections
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
from lemore_core.images.image import to_rgb
from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.evaluation.evaluate import DriveEvaluation, JudgedFrame
from lemore_ros.bags.evaluation.label_sources import DOUBTFUL

# reasons to show a frame: the figure, and the sign that makes lower worse
REASONS = {
    'low mIoU': ('mean_iou', 1),
    'low confidence': ('mean_confidence', 1),
    'flicker': ('flicker', -1),
    'unfamiliar': ('familiarity', 1),
}
DIFFERENCE = {'low agreement': ('agreement', 1)}
# title and format of each figure of a drive and of a frame
NUMBER = '{:,}'.format
HEADLINE: dict[str, tuple[str, Callable[[float], str]]] = {
    'frames': ('frames', NUMBER),
    'seconds': ('duration', '{:.1f} s'.format),
    'agreement': ('agreement', percent),
    'frames_with_ground_truth': ('frames with ground truth', NUMBER),
    'mean_iou': ('mIoU', percent),
    'pixel_accuracy': ('pixel accuracy', percent),
    'mean_accuracy': ('mean accuracy', percent),
    'calibration_error': ('calibration error', percent),
    'left_unlabelled': ('left unlabelled', percent),
    'mean_confidence': ('mean confidence', percent),
    'sureness': ('sureness', percent),
    'familiarity': ('familiarity', '{:.2f}'.format),
    'unfamiliar': ('unfamiliar frames', percent),
    'flicker': ('flicker', percent),
    'latency_ms': ('latency', '{:.1f} ms'.format),
}
APART_S = 0.5
FLICKER = 'Flicker is the share of pixels whose label differs from the frame before; motion counts.'
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
    values = evaluation.to_dict()
    errors = {what: f'{number:,}' for what, number in values['error_counts'].items()}
    if evaluation.flicker.breaks:
        errors['frames not compared with the one before'] = f'{evaluation.flicker.breaks:,}'
    return Report(
        title,
        evaluation.taxonomy,
        _texts(values),
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
    """Return an observer that keeps the worst frames, or those where ``names`` differ."""
    reasons = REASONS if names is None else DIFFERENCE

    def badness(frame: JudgedFrame) -> dict[str, float]:
        return {why: sign * frame.figures[key] for why, (key, sign) in reasons.items()}

    draw = partial(_draw, taxonomy=taxonomy, names=names)
    return WorstImages(limit, badness, draw, place=attrgetter('seconds'), apart=APART_S)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the known figures as text by title."""
    known = {key: values[key] for key in HEADLINE if values.get(key) is not None}
    return {HEADLINE[key][0]: HEADLINE[key][1](value) for key, value in known.items()}


def _sections(evaluation: DriveEvaluation, names: Names) -> list[Section]:
    from lemore_core.evaluation.plots import PLAIN, Row, time_plots

    reference, labels = names
    # columns that are unknown are left out
    rows = [
        Row(f'against {reference}', {'mIoU': 'mean_iou', 'pixel accuracy': 'pixel_accuracy'}),
        Row('confidence', {labels: 'mean_confidence', 'pixels below 50 %': 'doubtful'}),
        Row('scene', {'familiarity': 'familiarity', 'sureness': 'sureness'}),
        Row('flicker', {labels: 'flicker'}),
        Row('latency in ms', {labels: 'latency_ms'}, PLAIN),
    ]
    plot = time_plots(rows, evaluation.series, evaluation.shares, evaluation.taxonomy)
    about = [] if evaluation.is_comparison else [FLICKER]
    sections = [Section('Over time', [*about, plot])]
    if evaluation.frames_compared:
        where = heat_map(evaluation.where.shares, 'share of the frames with different labels')
        sections.append(Section('Where they differ', [where]))
        sections += score_sections(evaluation.taxonomy, evaluation.scores, *names)
    return sections


def _draw(frame: JudgedFrame, taxonomy: Taxonomy, names: Names | None) -> ReportImage:
    labels, confidence = frame.labels.labels, frame.labels.confidence
    figures = {key: None if np.isnan(value) else value for key, value in frame.figures.items()}
    panes: list[Pane] = []
    if frame.reference is None:
        panes.append(labels_pane(taxonomy, {'labels': labels}))
    elif names is None:
        panes += error_panes(taxonomy, labels, frame.reference)
        figures['agreement'] = None
    else:
        panes.append(labels_pane(taxonomy, {names[0]: frame.reference, names[1]: labels}))
        panes.append(marks_pane('differences red', (labels != frame.reference, RED)))
        figures = {'agreement': figures['agreement']}
    if names is None and confidence is not None:
        panes.append(marks_pane('confidence below 50 % red', (confidence < DOUBTFUL, RED)))
    if frame.changed is not None:
        panes.append(marks_pane('changed since the last frame red', (frame.changed, RED)))
    seconds, nanoseconds = divmod(frame.image.time_ns, 10**9)
    name = f'{frame.seconds:.2f} s (stamp {seconds}.{nanoseconds:09d})'
    image = frame.image.image
    rgb = np.ascontiguousarray(to_rgb(image.pixels, image.encoding))
    return report_image(name, rgb, panes, _texts(figures))
