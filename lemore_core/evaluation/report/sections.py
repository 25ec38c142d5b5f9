"""The headline figures of scores, and their sections: classes, confusion, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.calibration import Calibration
from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report.content import Plot, ReportSection, Table
from lemore_core.evaluation.scores import Scores
from lemore_core.taxonomy import Taxonomy


def score_figures(scores: Scores) -> dict[str, str]:
    """Return the headline figures of scores."""
    matrix = scores.matrix
    return {
        'mIoU': percent(matrix.mean_iou),
        'pixel accuracy': percent(matrix.pixel_accuracy),
        'mean accuracy': percent(matrix.mean_accuracy),
        'boundary F': percent(scores.boundary.mean),
        'calibration error': percent(scores.calibration.expected_error()),
    }


def score_sections(taxonomy: Taxonomy, scores: Scores) -> tuple[ReportSection, ...]:
    """Return the sections on classes, confusion and calibration (if confidences were counted).

    Raises:
        ReportError: Bokeh is not installed.

    """
    sections = (_classes(taxonomy, scores), confusion_section(taxonomy, scores.matrix.counts))
    if not scores.calibration.counts.any():
        return sections
    return (*sections, _calibration(scores.calibration))


def _classes(taxonomy: Taxonomy, scores: Scores) -> ReportSection:
    from lemore_core.evaluation.report.plots import class_bars

    matrix = scores.matrix
    columns = (matrix.iou, matrix.accuracy, scores.boundary.scores)
    pixels = matrix.counts.sum(1)
    rows = tuple(
        (name, *(percent(values[i]) for values in columns), f'{pixels[i]:,}')
        for i, name in enumerate(taxonomy.classes)
    )
    return ReportSection(
        'Classes',
        (
            Plot(
                class_bars(taxonomy, matrix.iou, 'IoU'),
                'Bars of the IoU of each class; the table below has the same figures.',
            ),
            Table(
                'Figures by class',
                ('class', 'IoU', 'accuracy', 'boundary F', 'true pixels'),
                rows,
            ),
        ),
    )


def confusion_section(
    taxonomy: Taxonomy,
    counts: NDArray[np.int64],
    *,
    rows: str = 'truth',
    columns: str = 'predicted',
    text: str = 'Of the pixels of each true class (a row), the percentage predicted as each class.',
) -> ReportSection:
    """Return the section on a confusion matrix (classes, classes); its sides are named.

    Raises:
        ReportError: Bokeh is not installed.

    """
    from lemore_core.evaluation.report.plots import confusion_map

    plot = confusion_map(taxonomy, counts, rows=rows, columns=columns)
    summary = f'Confusion matrix: {_worst_confusions(taxonomy, counts)}'
    return ReportSection('Confusion', (text, Plot(plot, summary)))


def _worst_confusions(taxonomy: Taxonomy, counts: NDArray[Any], number: int = 5) -> str:
    names = taxonomy.classes
    shares = counts.astype(np.float64) / np.maximum(counts.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    order = np.argsort(shares, axis=None)[::-1][:number]
    pairs = [np.unravel_index(place, shares.shape) for place in order]
    return '; '.join(
        f'{percent(shares[i, j])} of {names[i]} taken for {names[j]}'
        for i, j in pairs
        if shares[i, j] > 0
    )


def _calibration(calibration: Calibration) -> ReportSection:
    from lemore_core.evaluation.report.plots import reliability

    error = percent(calibration.expected_error())
    return ReportSection(
        'Calibration',
        (
            f'How often labels of a confidence are right: the mean gap to the dashed line is {error}.',
            Plot(
                reliability(calibration.bins()),
                f'Reliability diagram; expected calibration error {error}.',
            ),
        ),
    )
