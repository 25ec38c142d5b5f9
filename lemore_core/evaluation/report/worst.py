"""Keeps the worst of many images, drawing no others."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import NamedTuple

from lemore_core.evaluation.report.content import ReportImage


class Kept(NamedTuple):
    """An image with its key (the lower, the worse) and its place, such as seconds in a drive."""

    key: tuple[float, str]
    place: float
    image: ReportImage


class Worst:
    """The images of the lowest keys, the worst first.

    An image is drawn as it comes by, and forgotten when so many worse ones have come: memory
    holds ``limit`` of them and none is made twice. Of images whose places are less than ``apart``
    from each other the worst one is kept: in a drive a second is many images of one thing.
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
        self, key: tuple[float, str], draw: Callable[[], ReportImage], place: float = 0.0
    ) -> None:
        """Keep the image that ``draw`` makes if it is among the worst so far."""
        near = [kept for kept in self._kept if abs(kept.place - place) < self.apart]
        if any(kept.key <= key for kept in near):
            return
        others = [kept for kept in self._kept if kept not in near]
        if len(others) >= self.limit and (not others or key >= others[-1].key):
            return
        self._kept = others
        bisect.insort(self._kept, Kept(key, place, draw()), key=lambda kept: kept.key)
        del self._kept[self.limit :]
