"""Brings together what two streams say of the same moment, by their header stamps."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from lemore_ros.bags.errors import BagError
from lemore_ros.bags.reader import Bag, Record
from lemore_ros.bags.types import Topic
from lemore_ros.messages.stamps import stamp_ns

# moments that are asked for out of order still find their item among so many
REMEMBERED = 16
# and items that come out of order are sorted among so many
AHEAD = 4

T = TypeVar('T')


@dataclass(frozen=True)
class Stamped(Generic[T]):
    """Something with a time, read when it is asked for.

    ``time_ns`` is its header's stamp, or the receive time where that is zero; ``received_ns`` is
    ``None`` for what was not recorded.
    """

    time_ns: int
    received_ns: int | None
    load: Callable[[], T]


def stamp_of(message: Any, record: Record) -> int:
    """Return the time of a message with a header, in nanoseconds."""
    return stamp_ns(message.header) or record.time_ns


def stamped_messages(
    bag: Bag,
    topic: Topic,
    read: Callable[[Record, Any], T],
    error_counts: Counter[str] | None = None,
) -> Iterator[Stamped[T]]:
    """Yield what ``read`` makes of a topic's messages; those that cannot be read are counted.

    Raises:
        BagError: one cannot be read, and nothing counts them.
    """
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
    """Finds the item of a stream that belongs to a moment; each item is given out once.

    ``matched`` and ``passed`` count the items that were given out, and that nobody asked for;
    ``first_ns`` and ``last_ns`` are the bounds of those that were seen.
    """

    def __init__(self, items: Iterator[Stamped[T]], tolerance_ns: int) -> None:
        self.matched = 0
        self.passed = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self._items = in_order(items)
        self._tolerance = tolerance_ns
        self._waiting: deque[Stamped[T]] = deque()

    def take(self, time_ns: int, next_ns: int | None = None) -> Stamped[T] | None:
        """Return the item nearest to a moment, within the tolerance; ``None`` if there is none.

        What is nearer to ``next_ns``, the moment that is asked for next, is left for that.
        """
        self._read_until(time_ns)
        near = [item for item in self._waiting if self._belongs(item.time_ns, time_ns, next_ns)]
        if not near:
            return None
        best = min(near, key=lambda item: abs(item.time_ns - time_ns))
        self._waiting.remove(best)
        self.matched += 1
        return best

    def finish(self) -> None:
        """Count what nobody has asked for, and what was not read yet."""
        self.passed += len(self._waiting)
        self._waiting.clear()
        for item in self._items:
            self._see(item.time_ns)
            self.passed += 1

    def _belongs(self, item_ns: int, time_ns: int, next_ns: int | None) -> bool:
        gap = abs(item_ns - time_ns)
        return gap <= self._tolerance and (next_ns is None or gap <= abs(item_ns - next_ns))

    def _read_until(self, time_ns: int) -> None:
        while self.last_ns is None or self.last_ns <= time_ns + self._tolerance:
            item = next(self._items, None)
            if item is None:
                return
            self._see(item.time_ns)
            self._waiting.append(item)
            while (
                len(self._waiting) > REMEMBERED
                and self._waiting[0].time_ns < time_ns - self._tolerance
            ):
                self._waiting.popleft()
                self.passed += 1

    def _see(self, time_ns: int) -> None:
        self.first_ns = time_ns if self.first_ns is None else min(self.first_ns, time_ns)
        self.last_ns = time_ns if self.last_ns is None else max(self.last_ns, time_ns)


def in_order(items: Iterator[Stamped[T]], ahead: int = AHEAD) -> Iterator[Stamped[T]]:
    """Yield items by their times, if none comes more than ``ahead`` places late."""
    waiting: list[tuple[int, int, Stamped[T]]] = []
    for number, item in enumerate(items):
        heapq.heappush(waiting, (item.time_ns, number, item))
        if len(waiting) > ahead:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]
