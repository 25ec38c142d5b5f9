"""The report of an evaluation: its plots, and the pictures that went worst."""

from __future__ import annotations

import bisect
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.evaluate import EvaluationResult, ImageResult, Judged
from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report.content import (
    Layer,
    Pane,
    Plot,
    Report,
    ReportPicture,
    ReportSection,
    Table,
)
from lemore_core.evaluation.report.encode import fit_width, layer_uri, photo_uri
from lemore_core.render import Labels, colorize
from lemore_core.taxonomy import Taxonomy

PICTURE_WIDTH = 640
WRONG = (255, 40, 80, 255)
UNLABELLED = (0, 0, 0, 200)


class WorstPictures:
    """Observes an evaluation and keeps the worst pictures, ready for the report.

    A picture is drawn as it comes by, and forgotten when so many worse ones have come: neither
    all pictures are held in memory nor any is segmented twice.
    """

    def __init__(self, limit: int, taxonomy: Taxonomy) -> None:
        self.limit = limit
        self._taxonomy = taxonomy
        self._kept: list[tuple[tuple[float, str], ReportPicture]] = []

    def __call__(self, judged: Judged) -> None:
        """Keep the picture if it is among the worst so far."""
        key = judged.result.badness
        full = len(self._kept) >= self.limit
        if full and (not self._kept or key >= self._kept[-1][0]):
            return
        entry = key, draw_picture(judged, self._taxonomy)
        bisect.insort(self._kept, entry, key=lambda kept: kept[0])
        del self._kept[self.limit :]

    @property
    def pictures(self) -> tuple[ReportPicture, ...]:
        """The pictures, the worst first."""
        return tuple(picture for _, picture in self._kept)


def draw_picture(judged: Judged, taxonomy: Taxonomy, width: int = PICTURE_WIDTH) -> ReportPicture:
    """Return a judged picture as the report shows it: bare, prediction against truth, errors."""
    image, truth, prediction, result = judged
    size = fit_width(truth.shape, width)
    unlabelled = truth >= len(taxonomy.classes)
    errors = np.zeros((*truth.shape, 4), np.uint8)
    errors[prediction.labels != truth] = WRONG
    errors[unlabelled] = UNLABELLED
    predicted = _colors(prediction.labels, taxonomy, np.zeros_like(unlabelled))
    true = _colors(truth, taxonomy, unlabelled)
    return ReportPicture(
        name=result.name,
        photo=photo_uri(image, size),
        width=size[1],
        height=size[0],
        panes=(
            Pane('picture'),
            Pane(
                'prediction and truth',
                (
                    Layer('prediction', layer_uri(predicted, size)),
                    Layer('truth', layer_uri(true, size)),
                ),
            ),
            Pane(
                'errors red, unlabelled dark',
                (Layer('errors', layer_uri(errors, size)),),
                dimmed=True,
            ),
        ),
        figures={
            'mIoU': percent(result.mean_iou),
            'pixel accuracy': percent(result.pixel_accuracy),
        },
        scores=_scores(result),
    )


def evaluation_report(
    result: EvaluationResult,
    pictures: tuple[ReportPicture, ...],
    *,
    title: str,
    facts: Mapping[str, str],
) -> Report:
    """Return the report of an evaluation; ``pictures`` are the worst, ``facts`` tell of the run.

    Raises:
        ReportError: Bokeh is not installed.

    """
    matrix = result.matrix
    return Report(
        title=title,
        figures={
            'mIoU': percent(matrix.mean_iou),
            'pixel accuracy': percent(matrix.pixel_accuracy),
            'mean accuracy': percent(matrix.mean_accuracy),
            'boundary F': percent(result.boundary.mean),
            'calibration error': percent(result.calibration.expected_error()),
        },
        facts=facts,
        sections=(_classes(result), _confusion(result), _calibration(result)),
        pictures=pictures,
        pictures_title='Worst pictures',
        pictures_note=(
            f'The {len(pictures)} of {len(result.images)} pictures with the lowest mIoU over the '
            'classes in them, the worst first. Choose a class to see only those of them that '
            'have it or were said to have it, the lowest IoU of it first.'
        ),
        taxonomy=result.taxonomy,
    )


def _classes(result: EvaluationResult) -> ReportSection:
    from lemore_core.evaluation.report.plots import class_bars

    matrix, names = result.matrix, result.taxonomy.classes
    columns = (matrix.iou, matrix.accuracy, result.boundary.scores)
    pixels = matrix.counts.sum(1)
    rows = tuple(
        (name, *(percent(values[i]) for values in columns), f'{pixels[i]:,}')
        for i, name in enumerate(names)
    )
    return ReportSection(
        'Classes',
        (
            Plot(
                class_bars(result.taxonomy, matrix.iou, 'IoU'),
                'Bars of the IoU of each class; the table below has the same figures.',
            ),
            Table(
                'Figures by class',
                ('class', 'IoU', 'accuracy', 'boundary F', 'true pixels'),
                rows,
            ),
        ),
    )


def _confusion(result: EvaluationResult) -> ReportSection:
    from lemore_core.evaluation.report.plots import confusion_map

    return ReportSection(
        'Confusion',
        (
            'Of the pixels of each true class (a row), the percentage predicted as each class.',
            Plot(
                confusion_map(result.taxonomy, result.matrix.counts),
                'Confusion matrix: ' + _worst_confusions(result),
            ),
        ),
    )


def _worst_confusions(result: EvaluationResult, number: int = 5) -> str:
    names, counts = result.taxonomy.classes, result.matrix.counts.astype(np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    order = np.argsort(shares, axis=None)[::-1][:number]
    pairs = [np.unravel_index(place, shares.shape) for place in order]
    return '; '.join(
        f'{percent(shares[i, j])} of {names[i]} taken for {names[j]}'
        for i, j in pairs
        if shares[i, j] > 0
    )


def _calibration(result: EvaluationResult) -> ReportSection:
    from lemore_core.evaluation.report.plots import reliability

    error = percent(result.calibration.expected_error())
    return ReportSection(
        'Calibration',
        (
            f'How often labels of a confidence are right: the mean gap to the dashed line is {error}.',
            Plot(
                reliability(result.calibration.bins()),
                f'Reliability diagram; expected calibration error {error}.',
            ),
        ),
    )


def _scores(result: ImageResult) -> dict[int, float]:
    return {i: round(float(v), 4) for i, v in enumerate(result.iou) if not np.isnan(v)}


def _colors(labels: Labels, taxonomy: Taxonomy, clear: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the colours of labels as RGBA, see-through where ``clear`` says so."""
    alpha = np.where(clear, 0, 255).astype(np.uint8)
    return np.dstack([colorize(labels, taxonomy.palette), alpha])
