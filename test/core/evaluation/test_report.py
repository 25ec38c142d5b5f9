from __future__ import annotations

import base64
import dataclasses
import math
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lemore_core.data.samples import Sample
from lemore_core.evaluation.evaluate import EvaluationResult, Judged, evaluate
from lemore_core.evaluation.report import (
    Report,
    evaluation_report,
    heat_map,
    render_report,
    worst_images,
)
from lemore_core.evaluation.strategies import Predictor
from lemore_core.evaluation.worst import ReportImage, WorstImages
from lemore_core.taxonomy import load_taxonomy

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


def report_of(result: Evaluated, title: str = 'a title') -> Report:
    return evaluation_report(
        result[0], result[1].images, title=title, facts={'model': 'red & green'}
    )


def decode(uri: str) -> NDArray[np.uint8]:
    kind, _, content = uri.partition(',')
    assert kind == 'data:image/webp;base64'
    data = np.frombuffer(base64.b64decode(content), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    # WebP drops the transparency of what is opaque everywhere
    return pixels if pixels.shape[2] == 4 else cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA)


def test_images_stand_worst_first_with_slider_and_error_map(result: Evaluated) -> None:
    page = Page(render_report(report_of(result)))
    assert page.texts['h3'] == ['val/bad', 'val/middling', 'val/good']
    assert len(page.all('img')) == 3 * 4, 'a photograph, two overlays and an error map each'
    assert page.texts['label'][1:] == ['labelsground truth'] * 3
    predicted, truth, errors = (decode(a['src']) for a in page.all('img', 'layer')[3:6])
    camvid = load_taxonomy('camvid')
    # middling, whose upper right quarter says building instead of car; OpenCV gives BGRA
    for layer, name in ((predicted, 'building'), (truth, 'car')):
        color = camvid.colors[camvid.classes.index(name)]
        assert layer[10, 60].tolist() == [*color[::-1], 255]
    assert truth[0, 0, 3] == predicted[0, 0, 3] == 0, 'no class, no colour'
    assert errors[10, 60].tolist() == [80, 40, 255, 255]
    assert errors[50, 60, 3] == errors[50, 10, 3] == 0
    assert errors[0, 0].tolist() == [0, 0, 0, 200]


def test_tables_and_plots_hold_the_figures(result: Evaluated) -> None:
    report = report_of(result)
    assert report.figures['mIoU'] == '50.0 %'
    classes, confusion, calibration = report.sections
    iou = [(row[0], row[1].text) for row in classes.parts[0].rows]
    assert iou[:3] == [('road', '100.0 %'), ('car', '50.0 %'), ('building', '0.0 %')]
    assert iou[-1][1] == '-'
    shares = {row[0]: [cell.share for cell in row[1:] if cell] for row in confusion.parts[1].rows}
    assert {k: v for k, v in shares.items() if v} == {'road': [1.0], 'car': [0.5, 0.5]}
    rows = {row[0]: [cell.text for cell in row[1:]] for row in calibration.parts[1].rows}
    assert rows['80 to 87 %'] == ['80.0 %', '74.8 %', '14,292']
    assert rows['0 to 7 %'] == ['-', '-', '0']


def test_nothing_is_loaded_from_elsewhere(result: Evaluated) -> None:
    page = Page(render_report(report_of(result)))
    for tag, attributes in page.elements:
        assert tag not in {'link', 'iframe', 'object', 'base', 'form'}
        for name in ('src', 'href', 'data', 'srcset', 'action'):
            if name in attributes:
                assert re.match(r'#[\w-]+$|data:image/webp;base64,', attributes[name])
    policy = next(a for a in page.all('meta') if a.get('http-equiv') == 'Content-Security-Policy')
    assert "default-src 'none'" in policy['content']
    assert not re.search(r'url\(|@import', ' '.join(page.texts['style']))


def test_texts_are_escaped(predictor: Predictor, result: Evaluated) -> None:
    classes = (HOSTILE, *predictor.taxonomy.classes[1:])
    taxonomy = dataclasses.replace(predictor.taxonomy, classes=classes)
    evaluation = dataclasses.replace(result[0], taxonomy=taxonomy)
    plain = Page(render_report(report_of(result)))
    hostile = Page(render_report(report_of((evaluation, result[1]), title=HOSTILE)))
    for tag in ('script', 'img'):
        assert len(hostile.all(tag)) == len(plain.all(tag))
    assert hostile.texts['h1'] == hostile.texts['title'] == [HOSTILE]
    assert HOSTILE in hostile.texts['li'] + hostile.texts['th'] + hostile.texts['span']


def test_a_heat_map_names_its_scale() -> None:
    picture = heat_map(np.array([[0.0, 0.25]]), 'differences')
    assert picture.caption == 'differences: 0 % black, 25.0 % brightest'
    pixels = decode(picture.uri)
    assert pixels[0, 0, :3].sum() < 20
    assert pixels[0, -1, :3].sum() > 400


class Item(NamedTuple):
    values: Mapping[str, float]
    place: float = 0.0


def kept(limit: int, items: list[Item], apart: float = 0.0) -> tuple[list[str], list[str]]:
    """Return the images that are kept, and those that were drawn."""
    drawn: list[str] = []

    def draw(item: Item) -> ReportImage:
        drawn.append(' '.join(f'{value:g}' for value in item.values.values()))
        return ReportImage(drawn[-1], '', (), {})

    worst = WorstImages(
        limit, lambda item: item.values, draw, place=lambda item: item.place, apart=apart
    )
    for item in items:
        worst(item)
    return [f'{image.name} {image.figures.get("chosen for", "")}' for image in worst.images], drawn


def test_only_the_worst_are_kept_and_only_they_are_drawn() -> None:
    items = [Item({'': value}) for value in (5.0, 3.0, 9.0, math.nan, 1.0, 4.0)]
    assert kept(2, items) == (['1 ', '3 '], ['5', '3', '1'])
    assert kept(0, items) == ([], [])


def test_of_neighbours_the_worst_one_is_kept() -> None:
    places = ((5, 0.0), (4, 0.5), (6, 0.6), (1, 3.0), (2, 3.1), (3, 4.0))
    found, _ = kept(3, [Item({'': value}, place) for value, place in places], apart=1.0)
    assert found == ['1 ', '3 ', '4 ']


def test_of_several_reasons_each_image_says_its_own() -> None:
    items = [Item({'a': 1.0, 'b': 1.0}), Item({'a': 2.0, 'b': 0.0}), Item({'a': 3.0, 'b': 3.0})]
    assert kept(1, items) == (['1 1 a', '2 0 b'], ['1 1', '2 0'])
    assert kept(2, items)[0] == ['1 1 a, b', '2 0 a, b']
