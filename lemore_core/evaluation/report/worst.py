"""Keeps the worst of many images, drawing no others."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

from lemore_core.evaluation.report.content import ReportImage

T = TypeVar('T')


class Kept(NamedTuple):
    """An image with its badness (the lower, the worse) and its place, such as seconds in a drive."""

    value: float
    place: float
    image: ReportImage


class WorstImages(Generic[T]):
    """Observes images and keeps the ``limit`` worst for each of several reasons, the worst first.

    ``badness`` gives a number by reason, the lower the worse, NaN for not to be judged. An image is
    drawn as it comes by, and forgotten when so many worse ones have come: memory does not grow and
    none is made twice. Of images whose places are less than ``apart`` from each other the worst one
    is kept: in a drive a second is many images of one thing.
    """

    def __init__(
        self,
        limit: int,
        badness: Callable[[T], Mapping[str, float]],
        draw: Callable[[T], ReportImage],
        *,
        place: Callable[[T], float] = lambda _: 0.0,
        apart: float = 0.0,
    ) -> None:
        self._limit = limit
        self._badness = badness
        self._draw = draw
        self._place = place
        self._apart = apart
        self._kept: dict[str, list[Kept]] = {}

    def __call__(self, item: T) -> None:
        """Keep the image for each reason for which it is among the worst so far."""
        draw_once = lru_cache(1)(lambda: self._draw(item))
        for reason, value in self._badness(item).items():
            if not math.isnan(value):
                kept = self._kept.get(reason, [])
                self._kept[reason] = self._with(kept, value, self._place(item), draw_once)

    @property
    def images(self) -> tuple[ReportImage, ...]:
        """The images, each once, those of the first reason first; of several, each says its own."""
        reasons: dict[int, list[str]] = {}
        for reason, kept in self._kept.items():
            for one in kept:
                reasons.setdefault(id(one.image), []).append(reason)
        found = {id(one.image): one.image for kept in self._kept.values() for one in kept}
        if len(self._kept) < 2:
            return tuple(found.values())
        return tuple(
            dataclasses.replace(
                image, figures={'chosen for': ', '.join(reasons[key]), **image.figures}
            )
            for key, image in found.items()
        )

    def _with(
        self, kept: list[Kept], value: float, place: float, draw: Callable[[], ReportImage]
    ) -> list[Kept]:
        near = [one for one in kept if abs(one.place - place) < self._apart]
        others = [one for one in kept if one not in near]
        is_full = len(others) >= self._limit
        if any(one.value <= value for one in near) or (
            is_full and (not others or value >= others[-1].value)
        ):
            return kept
        bisect.insort(others, Kept(value, place, draw()), key=lambda one: one.value)
        return others[: self._limit]
