from __future__ import annotations

import base64
import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lemore_core.data.samples import Sample
from lemore_core.evaluation.evaluate import EvaluationResult, Judged, evaluate
from lemore_core.evaluation.report import build
from lemore_core.evaluation.report.build import render_report, write_report
from lemore_core.evaluation.report.content import Report, ReportError, ReportSection, Table
from lemore_core.evaluation.report.evaluation import evaluation_report, worst_images
from lemore_core.evaluation.report.images import fit_width
from lemore_core.evaluation.report.plots import class_bars, confusion_map, reliability
from lemore_core.evaluation.report.worst import WorstImages
from lemore_core.evaluation.strategies import Predictor
from lemore_core.taxonomy import Taxonomy, load_taxonomy

ROAD, CAR = 3, 8
VOID = {'meta', 'img', 'input', 'link', 'br', 'hr'}
Evaluated = tuple[EvaluationResult, WorstImages[Judged]]
HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\'\\'


class Page(HTMLParser):
    """The elements of a page, with their attributes and text; open and close must match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html)
        assert not self._open, f'left open: {self._open}'

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or '' for key, value in attrs}))
        self.texts.setdefault(tag, []).append('')
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data

    def all(self, tag: str, name: str = '') -> list[dict[str, str]]:
        found = [attributes for element, attributes in self.elements if element == tag]
        return [a for a in found if not name or name in a.get('class', '').split()]


@pytest.fixture
def result(predictor: Predictor, samples: list[Sample]) -> Evaluated:
    worst = worst_images(50, predictor.taxonomy)
    return evaluate(predictor, samples, worst), worst


def page_of(result: Evaluated, title: str = 'a title') -> Page:
    report = evaluation_report(
        result[0], result[1].images, title=title, facts={'model': 'red & green'}
    )
    return Page(render_report(report))


def decode(uri: str) -> NDArray[np.uint8]:
    kind, _, content = uri.partition(',')
    assert kind == 'data:image/webp;base64'
    data = np.frombuffer(base64.b64decode(content), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    # WebP drops the transparency of what is opaque everywhere
    return pixels if pixels.shape[2] == 4 else cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA)


def test_images_stand_worst_first(result: Evaluated) -> None:
    page = page_of(result)
    assert page.texts['h3'] == ['val/bad', 'val/middling', 'val/good']
    assert [a['alt'] for a in page.all('img', 'photo')] == ['val/bad', 'val/middling', 'val/good']
    scores = [json.loads(a['data-scores']) for a in page.all('article')]
    assert [s[str(CAR)] for s in scores] == [0.0, 0.5, 1.0]
    assert scores[0] == {'1': 0.0, str(ROAD): 1.0, str(CAR): 0.0}
    options = page.all('option')
    assert [o['value'] for o in options] == ['', *map(str, range(11))]


def test_each_has_a_slider_and_its_error_map(
    result: Evaluated,
) -> None:
    page = page_of(result)
    assert len(page.all('img')) == 3 * 4, 'a photograph, two overlays and an error map each'
    assert all(a['loading'] == 'lazy' for a in page.all('img'))
    sliders = [a for a in page.all('input') if 'aria-label' in a]
    assert len(sliders) == 3
    assert 'ground truth' in sliders[0]['aria-label']
    predicted, truth, errors = (decode(a['src']) for a in page.all('img', 'layer')[3:6])
    camvid = load_taxonomy('camvid')
    # middling, whose upper right quarter says building instead of car; OpenCV gives BGRA
    for layer, name in ((predicted, 'building'), (truth, 'car')):
        color = camvid.colors[camvid.classes.index(name)]
        assert layer[10, 60].tolist() == [*color[::-1], 255]
    assert truth[0, 0, 3] == 0, 'no truth, no colour'
    assert predicted[0, 0, 3] == 255
    assert errors[10, 60].tolist() == [80, 40, 255, 255]
    assert errors[50, 60, 3] == errors[50, 10, 3] == 0
    assert errors[0, 0].tolist() == [0, 0, 0, 200]


def test_nothing_is_loaded_from_elsewhere(result: Evaluated) -> None:
    page = page_of(result)
    for tag, attributes in page.elements:
        assert tag not in {'link', 'iframe', 'object', 'base', 'form'}
        for name in ('src', 'href', 'data', 'srcset', 'action'):
            if name in attributes:
                assert re.match(r'#[\w-]+$|data:image/webp;base64,', attributes[name])
    policy = next(a for a in page.all('meta') if a.get('http-equiv') == 'Content-Security-Policy')
    assert "default-src 'none'" in policy['content']
    assert 'http' not in policy['content']
    assert not re.search(r'url\(|@import', ' '.join(page.texts['style']))


def test_texts_are_escaped(predictor: Predictor, result: Evaluated) -> None:
    classes = (HOSTILE, *predictor.taxonomy.classes[1:])
    taxonomy = dataclasses.replace(predictor.taxonomy, classes=classes)
    evaluation = dataclasses.replace(result[0], taxonomy=taxonomy)
    plain, hostile = page_of(result), page_of((evaluation, result[1]), title=HOSTILE)
    assert len(hostile.all('script')) == len(plain.all('script'))
    assert len(hostile.all('img')) == len(plain.all('img'))
    assert hostile.texts['h1'] == hostile.texts['title'] == [HOSTILE]
    assert HOSTILE in hostile.texts['option']
    plots = [json.loads(text) for text in hostile.texts['script'] if text.startswith('{')]
    assert len(plots) == 3
    assert json.dumps(HOSTILE) in json.dumps(plots)


def test_the_plots_hold_the_figures(result: Evaluated) -> None:
    evaluation = result[0]
    bars = class_bars(evaluation.taxonomy, evaluation.matrix.iou, 'IoU')
    labels = bars.y_range.factors
    assert labels[-2:] == ['car  50.0 %', 'road  100.0 %']
    assert labels[0].endswith('  -')
    matrix = confusion_map(evaluation.taxonomy, evaluation.matrix.counts)
    data = matrix.renderers[0].data_source.data
    cells = dict(zip(zip(data['row'], data['column'], strict=True), data['share'], strict=True))
    assert cells == {('road', 'road'): 1.0, ('car', 'building'): 0.5, ('car', 'car'): 0.5}
    upper, lower = reliability(evaluation.calibration.bins()).children
    data = upper.renderers[0].data_source.data
    assert data['left'] == [pytest.approx(0.8)]
    assert data['accuracy'] == [pytest.approx(evaluation.matrix.pixel_accuracy)]
    assert lower.renderers[0].data_source.data['share'] == [1.0]


def test_many_classes_get_a_matrix_without_numbers() -> None:
    taxonomy = Taxonomy('many', tuple(f'c{i}' for i in range(150)), ((1, 2, 3),) * 150)
    plot = confusion_map(taxonomy, np.diag(np.arange(150)))
    assert len(plot.renderers) == 1
    assert len(plot.renderers[0].data_source.data['share']) == 149
    assert plot.height > 1000


def test_only_the_worst_are_kept(predictor: Predictor, samples: list[Sample]) -> None:
    for limit, names in ((0, []), (1, ['val/bad']), (2, ['val/bad', 'val/middling'])):
        worst = worst_images(limit, predictor.taxonomy)
        # the good one comes before the middling one and must make room
        evaluate(predictor, samples, worst)
        assert [image.name for image in worst.images] == names


def test_any_tool_can_fill_a_report() -> None:
    report = Report(
        title='a drive',
        figures={'frames': '12'},
        sections=(
            ReportSection(
                'Notes',
                ('1 < 2', Table('rows', ('a', 'b'), (('x', '<y>'),))),
            ),
        ),
    )
    page = Page(render_report(report))
    assert page.texts['td'] == ['<y>']
    assert page.texts['p'][0] == '1 < 2'
    assert len(page.all('script')) == 1, 'no plots, no Bokeh'
    assert not page.all('article')


def test_images_shrink_and_never_grow() -> None:
    assert fit_width((360, 480), 640) == (360, 480)
    assert fit_width((1080, 1920), 640) == (360, 640)
    assert fit_width((1, 9000), 640) == (1, 640)


def test_a_report_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(ReportError, match='cannot be written'):
        write_report(Report('x'), tmp_path / 'file' / 'report.html')


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, 'NEEDED', ('jinja2', 'no_such_package'))
    with pytest.raises(ReportError, match='pip install no_such_package'):
        render_report(Report('x'))
