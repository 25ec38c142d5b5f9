"""Match two streams of a bag by their header stamps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from lemore_ros.bags.reader import Record
from lemore_ros.messages.stamps import stamp_ns

REMEMBERED = 16  # older items kept for moments out of order
AHEAD = 4  # newer items read for items out of order

T = TypeVar('T')


@dataclass(frozen=True)
class Stamped(Generic[T]):
    """Item with its stamp (receive time if zero), read on demand; times in nanoseconds.

    ``received_ns`` is None for what was not recorded.
    """

    time_ns: int
    received_ns: int | None
    load: Callable[[], T]


def stamp_of(message: Any, record: Record) -> int:
    """Return the stamp of a message with a header, in nanoseconds."""
    return stamp_ns(message.header) or record.time_ns


class Matcher(Generic[T]):
    """Find the item of a stream nearest to a moment, each item once.

    ``read`` counts the items, ``matched`` those with a moment; ``first_ns`` is the time of the
    first one.
    """

    def __init__(self, items: Iterator[Stamped[T]], tolerance_ns: int) -> None:
        self.read = self.matched = 0
        self.first_ns: int | None = None
        self._items = items
        self._tolerance = tolerance_ns
        self._waiting: list[Stamped[T]] = []

    def take(self, time_ns: int, next_ns: int | None = None) -> Stamped[T] | None:
        """Return the nearest item within the tolerance, None without one.

        An item nearer to ``next_ns``, the next moment, is left for it.
        """
        self._read_until(time_ns + self._tolerance)
        gaps = [
            (abs(item.time_ns - time_ns), place)
            for place, item in enumerate(self._waiting)
            if next_ns is None or abs(item.time_ns - time_ns) <= abs(item.time_ns - next_ns)
        ]
        gap, place = min(gaps, default=(self._tolerance + 1, 0))
        if gap > self._tolerance:
            return None
        self.matched += 1
        return self._waiting.pop(place)

    def finish(self) -> None:
        """Count the remaining items."""
        self.read += sum(1 for _ in self._items)

    def _read_until(self, time_ns: int) -> None:
        newer = sum(item.time_ns > time_ns for item in self._waiting)
        while newer < AHEAD and (item := next(self._items, None)) is not None:
            self.first_ns = item.time_ns if self.first_ns is None else self.first_ns
            self.read += 1
            newer += item.time_ns > time_ns
            self._waiting = sorted([*self._waiting, item], key=attrgetter('time_ns'))
            self._waiting = self._waiting[-REMEMBERED - AHEAD :]
