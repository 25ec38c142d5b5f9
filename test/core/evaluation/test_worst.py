from __future__ import annotations

from lemore_core.evaluation.report.content import ReportImage
from lemore_core.evaluation.report.worst import Worst


def offer(worst: Worst, value: float, place: float, drawn: list[float]) -> None:
    def draw() -> ReportImage:
        drawn.append(value)
        return ReportImage(str(value), '', 1, 1, ())

    worst.offer((value, ''), draw, place)


def names(worst: Worst) -> list[str]:
    return [kept.image.name for kept in worst.kept]


def test_only_what_is_kept_is_drawn() -> None:
    worst, drawn = Worst(2), list[float]()
    for value in (5.0, 3.0, 9.0, 1.0, 4.0):
        offer(worst, value, 0.0, drawn)
    assert names(worst) == ['1.0', '3.0']
    assert drawn == [5.0, 3.0, 1.0]


def test_of_neighbours_the_worst_one_is_kept() -> None:
    worst, drawn = Worst(3, apart=1.0), list[float]()
    for value, place in ((5, 0.0), (4, 0.5), (6, 0.6), (1, 3.0), (2, 3.1), (3, 4.0)):
        offer(worst, value, place, drawn)
    assert names(worst) == ['1', '3', '4']


def test_none_are_kept_where_none_are_wanted() -> None:
    worst, drawn = Worst(0), list[float]()
    offer(worst, 1.0, 0.0, drawn)
    assert not worst.kept
    assert not drawn
