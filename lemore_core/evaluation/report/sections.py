"""The headline figures of scores, and their sections: classes, confusion, calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report.content import ReportSection, Table
from lemore_core.evaluation.scores import Scores
from lemore_core.taxonomy import Taxonomy


def score_figures(scores: Scores) -> dict[str, str]:
    """Return the headline figures of scores."""
    matrix = scores.matrix
    return {
        'mIoU': percent(matrix.mean_iou),
        'pixel accuracy': percent(matrix.pixel_accuracy),
        'mean accuracy': percent(matrix.mean_accuracy),
        'calibration error': percent(scores.calibration.expected_error()),
    }


def score_sections(
    taxonomy: Taxonomy, scores: Scores, truth: str = 'ground truth'
) -> tuple[ReportSection, ...]:
    """Return the sections on classes, confusion and calibration (if confidences were counted).

    ``truth`` is what the labels were compared with.

    Raises:
        ReportError: Bokeh is not installed.
    """
    from lemore_core.evaluation.report.plots import reliability

    matrix = scores.matrix
    columns = {
        'IoU': [percent(value) for value in matrix.iou],
        'accuracy': [percent(value) for value in matrix.accuracy],
        'true pixels': [f'{pixels:,}' for pixels in matrix.counts.sum(1)],
    }
    sections = (
        class_section(taxonomy, matrix.iou, 'IoU', columns),
        confusion_section(taxonomy, matrix.counts, rows=truth),
    )
    if not scores.calibration.counts.any():
        return sections
    error = percent(scores.calibration.expected_error())
    text = (
        f'How often labels of a confidence are right: the mean gap to the dashed line is {error}.'
    )
    plot = reliability(scores.calibration.bins())
    return (*sections, ReportSection('Calibration', (text, plot)))


def class_section(
    taxonomy: Taxonomy,
    values: NDArray[np.float64],
    what: str,
    columns: dict[str, list[str]],
) -> ReportSection:
    """Return the section with a bar for each class and a table of its figures."""
    from lemore_core.evaluation.report.plots import class_bars

    rows = tuple(zip(taxonomy.classes, *columns.values(), strict=True))
    table = Table('Figures by class', ('class', *columns), rows)
    return ReportSection('Classes', (class_bars(taxonomy, values, what), table))


def confusion_section(
    taxonomy: Taxonomy,
    counts: NDArray[np.int64],
    *,
    rows: str = 'ground truth',
    columns: str = 'predicted',
    text: str = 'Of the pixels of each true class (a row), the percentage predicted as each class.',
) -> ReportSection:
    """Return the section on a confusion matrix (classes, classes); its sides are named."""
    from lemore_core.evaluation.report.plots import confusion_map

    plot = confusion_map(taxonomy, counts, rows=rows, columns=columns)
    return ReportSection('Confusion', (text, plot))
