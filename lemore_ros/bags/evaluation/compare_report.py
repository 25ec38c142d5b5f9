"""The report of a comparison, and the frames in which the two sources of labels differ most."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import attrgetter

from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report.content import Report, ReportImage, ReportSection
from lemore_core.evaluation.report.images import WRONG, labels_pane, marks_pane, report_image
from lemore_core.evaluation.report.sections import class_section, confusion_section
from lemore_core.evaluation.report.worst import WorstImages
from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.evaluation.compare import ComparedFrame, Comparison
from lemore_ros.bags.evaluation.report import APART_S, HOW_TO_ZOOM, error_facts, frame_name

Names = tuple[str, str]


def worst_differences(limit: int, taxonomy: Taxonomy, names: Names) -> WorstImages[ComparedFrame]:
    """Return what keeps the frames of the least agreement."""
    draw = partial(draw_differences, taxonomy=taxonomy, names=names)
    return WorstImages(
        limit,
        lambda frame: {'low agreement': frame.agreement},
        draw,
        place=attrgetter('seconds'),
        apart=APART_S,
    )


def draw_differences(frame: ComparedFrame, taxonomy: Taxonomy, names: Names) -> ReportImage:
    """Return a frame as the report shows it: bare, one against the other, where they differ."""
    shown = dict(zip(names, (frame.first.labels, frame.second.labels), strict=True))
    return report_image(
        frame_name(frame.seconds, frame.image.time_ns),
        frame.image.rgb,
        (labels_pane(taxonomy, shown), marks_pane('differences red', (frame.differs, WRONG))),
        {'agreement': percent(frame.agreement)},
        frame.iou,
    )


def comparison_report(
    comparison: Comparison,
    images: tuple[ReportImage, ...],
    *,
    names: Names,
    facts: Mapping[str, str],
) -> Report:
    """Return the report of a comparison; ``images`` are its frames of the least agreement.

    Raises:
        ReportError: Bokeh is not installed.
    """
    from lemore_core.evaluation.report.plots import heat_map
    from lemore_core.evaluation.report.time_plots import PLAIN, Row, time_plots

    first, second = names
    taxonomy, matrix = comparison.taxonomy, comparison.matrix
    rows = (
        Row('agreement', {'equal pixels': 'agreement', 'mean IoU': 'mean_iou'}),
        Row('mean confidence', {first: 'confidence_a', second: 'confidence_b'}),
        Row('latency in ms', {first: 'latency_a', second: 'latency_b'}, PLAIN),
    )
    over_time = time_plots(rows, comparison.series, None, taxonomy)
    where = heat_map(comparison.where.shares, 'frames that differ here')
    total = max(int(matrix.counts.sum()), 1)
    columns = {
        'IoU': [percent(value) for value in matrix.iou],
        'share by A': [percent(count / total) for count in matrix.counts.sum(1)],
        'share by B': [percent(count / total) for count in matrix.counts.sum(0)],
    }
    return Report(
        title=f'{first} and {second}',
        figures={
            'frames': f'{comparison.frames:,}',
            'duration': f'{comparison.seconds:.1f} s',
            'agreement': percent(comparison.agreement),
            'mean IoU of the two': percent(matrix.mean_iou),
        },
        facts={**facts, **error_facts(comparison.error_counts)},
        sections=(
            ReportSection('Over time', (HOW_TO_ZOOM, over_time)),
            ReportSection(
                'Where they differ',
                ('How often the labels differ at each place of the image.', where),
            ),
            class_section(taxonomy, matrix.iou, 'IoU of the two', columns),
            confusion_section(
                taxonomy,
                matrix.counts,
                rows=first,
                columns=second,
                text=(
                    f'Of the pixels of each class by {first} (a row), the percentage that '
                    f'{second} gives each class. Pixels that one leaves unlabelled do not count.'
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
