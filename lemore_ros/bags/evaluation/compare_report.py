"""The report of a comparison, and the frames in which the two sources of labels differ most."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report.content import (
    Pane,
    Plot,
    Report,
    ReportImage,
    ReportSection,
    Table,
)
from lemore_core.evaluation.report.encode import fit_width, photo_uri
from lemore_core.evaluation.report.panes import (
    IMAGE_WIDTH,
    WRONG,
    Marked,
    Named,
    class_scores,
    labels_pane,
    marks_pane,
)
from lemore_core.evaluation.report.sections import confusion_section
from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.evaluation.compare import ComparedFrame, Comparison
from lemore_ros.bags.evaluation.report import HOW_TO_ZOOM, error_facts
from lemore_ros.bags.evaluation.worst_frames import WorstByReason, frame_name

LEAST_AGREEMENT = 'low agreement'


def worst_differences(
    limit: int, taxonomy: Taxonomy, names: tuple[str, str]
) -> WorstByReason[ComparedFrame]:
    """Return what keeps the frames of the least agreement."""
    draw = partial(draw_differences, taxonomy=taxonomy, names=names)
    return WorstByReason(limit, lambda frame: {LEAST_AGREEMENT: frame.agreement}, draw)


def draw_differences(
    frame: ComparedFrame, taxonomy: Taxonomy, names: tuple[str, str]
) -> ReportImage:
    """Return a frame as the report shows it: bare, one against the other, where they differ."""
    size = fit_width(frame.image.size, IMAGE_WIDTH)
    shown = Named(names[0], frame.first.labels), Named(names[1], frame.second.labels)
    return ReportImage(
        name=frame_name(frame.seconds, frame.image.time_ns),
        photo=photo_uri(frame.image.rgb, size),
        width=size[1],
        height=size[0],
        panes=(
            Pane('image'),
            labels_pane(shown, taxonomy, size),
            marks_pane('differences red', (Marked(frame.differs, WRONG),), size),
        ),
        figures={'agreement': percent(frame.agreement)},
        scores=class_scores(frame.iou),
    )


def comparison_report(
    comparison: Comparison,
    images: tuple[ReportImage, ...],
    *,
    names: tuple[str, str],
    facts: Mapping[str, str],
) -> Report:
    """Return the report of a comparison; ``images`` are its frames of the least agreement.

    Raises:
        ReportError: Bokeh is not installed.

    """
    taxonomy, matrix = comparison.taxonomy, comparison.matrix
    return Report(
        title=f'{names[0]} and {names[1]}',
        figures={
            'frames': f'{comparison.frames:,}',
            'duration': f'{comparison.seconds:.1f} s',
            'agreement': percent(comparison.agreement),
            'mean IoU of the two': percent(matrix.mean_iou),
        },
        facts={**facts, **error_facts(comparison.error_counts)},
        sections=(
            _over_time(comparison, names),
            _where(comparison),
            _classes(comparison),
            confusion_section(
                taxonomy,
                matrix.counts,
                rows=names[0],
                columns=names[1],
                text=(
                    f'Of the pixels of each class by {names[0]} (a row), the percentage that '
                    f'{names[1]} gives each class. Pixels that one leaves unlabelled do not count.'
                ),
            ),
        ),
        images=images,
        images_title='Frames that differ most',
        images_note=(
            f'{len(images)} of {comparison.frames} frames, the least agreement first, no two '
            'within half a second.'
        ),
        taxonomy=taxonomy,
    )


def _over_time(comparison: Comparison, names: tuple[str, str]) -> ReportSection:
    from lemore_core.evaluation.report.time_plots import PLAIN, Row, time_plots

    first, second = names
    rows = (
        Row('agreement', {'equal pixels': 'agreement', 'mean IoU': 'mean_iou'}),
        Row('mean confidence', {first: 'confidence_a', second: 'confidence_b'}),
        Row('latency in ms', {first: 'latency_a', second: 'latency_b'}, PLAIN),
    )
    plot = time_plots(rows, comparison.series, None, comparison.taxonomy)
    course = comparison.series.course()
    least = int(course.mean['agreement'].argmin())
    summary = (
        f'Agreement over time; the least is {percent(float(course.mean["agreement"][least]))} '
        f'at {course.seconds[least]:.2f} s'
    )
    return ReportSection('Over time', (HOW_TO_ZOOM, Plot(plot, summary)))


def _where(comparison: Comparison) -> ReportSection:
    from lemore_core.evaluation.report.heat_map import heat_map

    shares = comparison.where.shares
    plot = heat_map(shares, 'frames that differ here')
    summary = (
        f'Heat map of the differences; the most is {percent(float(shares.max()))} of the frames'
    )
    return ReportSection(
        'Where they differ',
        ('How often the labels differ at each place of the image.', Plot(plot, summary)),
    )


def _classes(comparison: Comparison) -> ReportSection:
    from lemore_core.evaluation.report.plots import class_bars

    iou, counts = comparison.matrix.iou, comparison.matrix.counts
    total = max(int(counts.sum()), 1)
    rows = tuple(
        (name, percent(iou[i]), *(percent(n[i] / total) for n in (counts.sum(1), counts.sum(0))))
        for i, name in enumerate(comparison.taxonomy.classes)
    )
    known = [value for value in iou if not math.isnan(value)]
    return ReportSection(
        'Classes',
        (
            Plot(
                class_bars(comparison.taxonomy, iou, 'IoU of the two'),
                f'Bars of the IoU of the two by class, from {percent(min(known, default=math.nan))} '
                f'to {percent(max(known, default=math.nan))}',
            ),
            Table('Figures by class', ('class', 'IoU', 'share by A', 'share by B'), rows),
        ),
    )
