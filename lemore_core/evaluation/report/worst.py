"""Keeps the worst of many pictures, drawing no others."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import NamedTuple

from lemore_core.evaluation.report.content import ReportPicture


class Kept(NamedTuple):
    """A picture with its key (the lower, the worse) and its place, such as seconds in a drive."""

    key: tuple[float, str]
    place: float
    picture: ReportPicture


class Worst:
    """The pictures of the lowest keys, the worst first.

    A picture is drawn as it comes by, and forgotten when so many worse ones have come: memory
    holds ``limit`` of them and none is made twice. Of pictures whose places are less than ``apart``
    from each other the worst one is kept: in a drive a second is many pictures of one thing.
    """

    def __init__(self, limit: int, apart: float = 0.0) -> None:
        self.limit = limit
        self.apart = apart
        self._kept: list[Kept] = []

    @property
    def kept(self) -> tuple[Kept, ...]:
        """What is kept so far."""
        return tuple(self._kept)

    def offer(
        self, key: tuple[float, str], draw: Callable[[], ReportPicture], place: float = 0.0
    ) -> None:
        """Keep the picture that ``draw`` makes if it is among the worst so far."""
        near = [kept for kept in self._kept if abs(kept.place - place) < self.apart]
        if any(kept.key <= key for kept in near):
            return
        others = [kept for kept in self._kept if kept not in near]
        if len(others) >= self.limit and (not others or key >= others[-1].key):
            return
        self._kept = others
        bisect.insort(self._kept, Kept(key, place, draw()), key=lambda kept: kept.key)
        del self._kept[self.limit :]
