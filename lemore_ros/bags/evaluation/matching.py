"""Match two streams of a bag by their header stamps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from lemore_ros.bags.errors import BagError
from lemore_ros.bags.reader import Bag, Record
from lemore_ros.bags.types import Topic
from lemore_ros.messages.common import stamp_ns

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


def stamped_messages(
    bag: Bag,
    topic: Topic,
    read: Callable[[Record, Any], T],
    error_counts: Counter[str] | None = None,
) -> Iterator[Stamped[T]]:
    """Yield a topic's messages for ``read``; unreadable ones are counted, or raise BagError."""
    for record in bag.messages([topic]):
        try:
            message = record.message
        except BagError:
            if error_counts is None:
                raise
            error_counts[f'messages on {topic.name} that cannot be read'] += 1
            continue
        yield Stamped(stamp_of(message, record), record.time_ns, partial(read, record, message))


class Matcher(Generic[T]):
    """Finds the item of a stream nearest to a moment, each item once.

    ``matched`` and ``passed`` count items with and without a moment; ``first_ns`` and ``last_ns``
    are the bounds of their times.
    """

    def __init__(self, items: Iterator[Stamped[T]], tolerance_ns: int) -> None:
        self.matched = 0
        self.passed = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
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
        """Count the remaining items as passed."""
        while (item := next(self._items, None)) is not None:
            self._see(item.time_ns)
            self.passed += 1
        self.passed += len(self._waiting)
        self._waiting.clear()

    def _read_until(self, time_ns: int) -> None:
        newer = sum(item.time_ns > time_ns for item in self._waiting)
        while newer < AHEAD and (item := next(self._items, None)) is not None:
            self._see(item.time_ns)
            self._waiting.append(item)
            newer += item.time_ns > time_ns
            if len(self._waiting) > newer + REMEMBERED:
                self._waiting.remove(min(self._waiting, key=lambda one: one.time_ns))
                self.passed += 1

    def _see(self, time_ns: int) -> None:
        self.first_ns = time_ns if self.first_ns is None else min(self.first_ns, time_ns)
        self.last_ns = time_ns if self.last_ns is None else max(self.last_ns, time_ns)
