"""How a bag is divided: into the files of the result, which are made one by one, by anybody.

A part is a stretch of the bag's time. The parts follow from the bag and from what is asked for,
not from how many workers there are or how often a run broke off; hence the result does not either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

LEAST_FRAMES, MOST_FRAMES = 100, 2000
USUAL_PARTS = 64
NS = 10**9


@dataclass(frozen=True)
class Part:
    """Messages received from ``start_ns`` until before ``end_ns``."""

    index: int
    start_ns: int
    end_ns: int


class Slots:
    """Which images are segmented where ``rate_hz`` (0: all) thins them out.

    A second of the bag has ``rate_hz`` slots, and the first image of a topic in each is segmented.
    """

    def __init__(self, origin_ns: int, rate_hz: float) -> None:
        self._origin_ns = origin_ns
        self._rate_hz = rate_hz
        self._last: dict[str, int] = {}

    def takes(self, topic: str, time_ns: int) -> bool:
        """Whether this image is segmented; images come in the order of their receive times."""
        if not self._rate_hz:
            return True
        slot = math.floor((time_ns - self._origin_ns) * self._rate_hz / NS)
        is_new = self._last.get(topic) != slot
        self._last[topic] = slot
        return is_new


def divide(start_ns: int, end_ns: int, frames: int, file_frames: int, rate_hz: float) -> list[Part]:
    """Divide the time from ``start_ns`` until ``end_ns`` (the last message, included) evenly.

    ``frames`` are those to segment; ``file_frames`` is about how many a part gets, 0 to choose: short
    bags are divided into parts of :data:`LEAST_FRAMES`, longer ones into :data:`USUAL_PARTS`, very
    long ones into parts of :data:`MOST_FRAMES`. Parts of a thinned-out bag begin where slots do.
    """
    if not file_frames:
        file_frames = min(MOST_FRAMES, max(LEAST_FRAMES, math.ceil(frames / USUAL_PARTS)))
    count = max(1, math.ceil(frames / file_frames))
    length = end_ns + 1 - start_ns
    borders = [start_ns + length * index // count for index in range(count)]
    if rate_hz:
        borders = [_at_slot(start_ns, border, rate_hz) for border in borders]
    borders = [*sorted(set(borders)), end_ns + 1]
    pairs = [(a, b) for a, b in pairwise(borders) if a < b]
    return [Part(index, *pair) for index, pair in enumerate(pairs)]


def _at_slot(origin_ns: int, border_ns: int, rate_hz: float) -> int:
    slot = math.floor((border_ns - origin_ns) * rate_hz / NS)
    border = origin_ns + math.floor(slot * NS / rate_hz)
    # rounding must not leave the border within the slot before
    while math.floor((border - origin_ns) * rate_hz / NS) < slot:
        border += 1
    return border
