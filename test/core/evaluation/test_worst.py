from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from lemore_core.evaluation.report.content import ReportImage
from lemore_core.evaluation.report.worst import WorstImages


class Item(NamedTuple):
    values: Mapping[str, float]
    place: float = 0.0


def kept(limit: int, items: list[Item], apart: float = 0.0) -> tuple[list[str], list[str]]:
    """Return the images that are kept, and those that were drawn."""
    drawn: list[str] = []

    def draw(item: Item) -> ReportImage:
        drawn.append(' '.join(f'{value:g}' for value in item.values.values()))
        return ReportImage(drawn[-1], '', 1, 1, ())

    worst = WorstImages(
        limit, lambda item: item.values, draw, place=lambda item: item.place, apart=apart
    )
    for item in items:
        worst(item)
    return [f'{image.name} {image.figures.get("chosen for", "")}' for image in worst.images], drawn


def test_only_what_is_kept_is_drawn() -> None:
    items = [Item({'': value}) for value in (5.0, 3.0, 9.0, math.nan, 1.0, 4.0)]
    assert kept(2, items) == (['1 ', '3 '], ['5', '3', '1'])


def test_of_neighbours_the_worst_one_is_kept() -> None:
    places = ((5, 0.0), (4, 0.5), (6, 0.6), (1, 3.0), (2, 3.1), (3, 4.0))
    found, _ = kept(3, [Item({'': value}, place) for value, place in places], apart=1.0)
    assert found == ['1 ', '3 ', '4 ']


def test_of_several_reasons_each_image_says_its_own() -> None:
    items = [Item({'a': 1.0, 'b': 1.0}), Item({'a': 2.0, 'b': 0.0}), Item({'a': 3.0, 'b': 3.0})]
    found, drawn = kept(1, items)
    assert found == ['1 1 a', '2 0 b']
    assert drawn == ['1 1', '2 0']
    assert kept(2, items)[0] == ['1 1 a, b', '2 0 a, b']


def test_none_are_kept_where_none_are_wanted() -> None:
    assert kept(0, [Item({'': 1.0})]) == ([], [])
