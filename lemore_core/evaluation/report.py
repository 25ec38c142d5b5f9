"""Build the report of an evaluation: plots, tables and worst images in one file to mail."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError, refusing
from lemore_core.common.files import write_whole
from lemore_core.evaluation.evaluate import EvaluationResult, Judged
from lemore_core.evaluation.metrics import Calibration, ConfusionMatrix, Scores, percent
from lemore_core.evaluation.worst import (
    GROUND_TRUTH,
    LOSSLESS,
    WIDTH,
    ReportImage,
    WorstImages,
    error_panes,
    image_uri,
    report_image,
)
from lemore_core.taxonomy import Taxonomy


class Cell(NamedTuple):
    """Cell of a table with a share 0..1, and a text under the pointer."""

    text: str
    share: float
    hint: str = ''


class Table(NamedTuple):
    """Rows under ``columns``, the first cell names a row; shares are bars or shades."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    style: str = 'bar'  # or 'shade'


class Picture(NamedTuple):
    """Image as a data URI."""

    caption: str
    uri: str


class Section(NamedTuple):
    """Titled part of a report: text, tables, pictures and Bokeh models, in order."""

    title: str
    parts: Sequence[Any]


@dataclass(frozen=True)
class Report:
    """Headline figures, facts about the run, sections and images; ``taxonomy`` for the legend."""

    title: str
    taxonomy: Taxonomy
    figures: Mapping[str, str]
    facts: Mapping[str, str]
    sections: Sequence[Section]
    images: Sequence[ReportImage]
    images_title: str
    images_note: str


def evaluation_report(
    result: EvaluationResult,
    images: Sequence[ReportImage],
    *,
    title: str,
    facts: Mapping[str, str],
    truth: str = GROUND_TRUTH,
) -> Report:
    """Return the report of an evaluation; ``facts`` describe the run, ``truth`` names the reference."""
    matrix, calibration = result.scores.matrix, result.scores.calibration
    figures = {
        'mIoU': percent(matrix.mean_iou),
        'pixel accuracy': percent(matrix.pixel_accuracy),
        'mean accuracy': percent(matrix.mean_accuracy),
        'calibration error': percent(calibration.expected_error()),
    }
    return Report(
        title,
        result.taxonomy,
        figures,
        facts,
        score_sections(result.taxonomy, result.scores, truth),
        images,
        'Worst images',
        f'The {len(images)} of {len(result.images)} images with the lowest mIoU over the classes in '
        'them, worst first.',
    )


def write_report(report: Report, path: Path) -> None:
    """Write a report as HTML."""
    with refusing(f'the report {path} cannot be written', LemoreError):
        write_whole(path, render_report(report))


def check_requirements() -> None:
    """Import the packages of a report: a missing one is reported before a long evaluation."""
    importlib.import_module('bokeh')
    importlib.import_module('jinja2')


def render_report(report: Report) -> str:
    """Return the HTML of a report."""
    from bokeh.core.types import ID
    from bokeh.embed import json_item
    from bokeh.resources import Resources
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # Bokeh defines a model where it is first met: sorted keys would refer to it before
    environment.policies['json.dumps_kwargs'] = {'sort_keys': False}
    plots: list[Any] = []

    def part_of(part: Any) -> tuple[str, Any]:
        if kind := {str: 'text', Table: 'table', Picture: 'picture'}.get(type(part)):
            return kind, part
        target = f'plot-{len(plots)}'
        plots.append(json_item(part, ID(target)))
        return 'plot', target

    sections = [(section.title, list(map(part_of, section.parts))) for section in report.sections]
    template = (files('lemore_core.evaluation') / 'report.html').read_text(encoding='utf-8')
    # the widgets, tables and formulas that Bokeh can also bring would triple the file
    bokeh = Resources(mode='inline', components=['bokeh'], log_level='error').render_js()
    return environment.from_string(template).render(
        report=report, sections=sections, plots=plots, bokeh=bokeh if plots else ''
    )


def score_sections(
    taxonomy: Taxonomy, scores: Scores, truth: str = GROUND_TRUTH, labels: str = 'labels'
) -> list[Section]:
    """Return the sections on classes, confusion and (where confidences are known) calibration."""
    text = f'Percentages of each class of {truth} (a row) by the class of {labels} (a column).'
    sections = [
        Section('Classes', [_class_table(taxonomy, scores.matrix)]),
        Section('Confusion', [text, _confusion_table(taxonomy, scores.matrix)]),
    ]
    if scores.calibration.counts.any():
        error = percent(scores.calibration.expected_error())
        text = f'Accuracy of the labels by their confidence: the mean gap is {error}.'
        sections.append(Section('Calibration', [text, _calibration_table(scores.calibration)]))
    return sections


def _class_table(taxonomy: Taxonomy, matrix: ConfusionMatrix) -> Table:
    iou, accuracy, pixels = matrix.iou, matrix.accuracy, matrix.counts.sum(1)
    rows = [
        (taxonomy.classes[i], bar(iou[i]), percent(accuracy[i]), f'{pixels[i]:,}')
        for i in np.argsort(-np.nan_to_num(iou, nan=-1), kind='stable')
    ]
    return Table(('class', 'IoU', 'accuracy', 'pixels'), rows)


def _confusion_table(taxonomy: Taxonomy, matrix: ConfusionMatrix) -> Table:
    names, rows = taxonomy.classes, []
    for name, counts in zip(names, matrix.counts, strict=True):
        cells: list[str | Cell] = [name]
        for other, count in zip(names, counts, strict=True):
            share = count / max(counts.sum(), 1)
            hint = f'{name}, {other}: {count:,} pixels, {100 * share:.2f} %'
            text = f'{100 * share:.0f}' if share >= 0.005 else ''
            cells.append(Cell(text, round(share, 4), hint) if count else '')
        rows.append(cells)
    return Table(('', *names), rows, 'shade')


def _calibration_table(calibration: Calibration) -> Table:
    edges, *columns = calibration.bins()
    ranges = (f'{100 * a:.0f} to {100 * b:.0f} %' for a, b in pairwise(edges))
    total = calibration.counts.sum()
    rows = [
        (text, bar(confidence), bar(accuracy), bar(count / total, f'{count:,}'))
        for text, count, confidence, accuracy in zip(ranges, *columns, strict=True)
    ]
    return Table(('confidence', 'mean confidence', 'accuracy', 'pixels'), rows)


def bar(share: float, text: str = '') -> Cell:
    """Return the cell of a share; of NaN without a bar."""
    return Cell(text or percent(share), round(float(np.nan_to_num(share)), 4))


def heat_map(shares: NDArray[np.float64], what: str) -> Picture:
    """Return a picture of shares (h, w) 0..1 over the image plane; ``what`` names them."""
    most = float(shares.max())
    levels = (255 * shares / max(most, 1e-9)).astype(np.uint8)
    colors = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    size = WIDTH, max(1, round(WIDTH * shares.shape[0] / shares.shape[1]))
    large = cv2.resize(colors, size, interpolation=cv2.INTER_NEAREST)
    return Picture(f'{what}: 0 % black, {percent(most)} brightest', image_uri(large, LOSSLESS))


def worst_images(limit: int, taxonomy: Taxonomy, truth: str = GROUND_TRUTH) -> WorstImages[Judged]:
    """Return an observer that keeps the images of the lowest mIoU; ``truth`` names the reference."""
    draw = partial(_draw_judged, taxonomy=taxonomy, truth=truth)
    return WorstImages(limit, lambda judged: {'low mIoU': judged.result.mean_iou}, draw)


def _draw_judged(judged: Judged, taxonomy: Taxonomy, truth: str) -> ReportImage:
    result = judged.result
    iou, accuracy = percent(result.mean_iou), percent(result.pixel_accuracy)
    panes = error_panes(taxonomy, judged.prediction.labels, judged.truth, truth)
    figures = {'mIoU': iou, 'pixel accuracy': accuracy}
    return report_image(result.name, judged.image, panes, figures)
