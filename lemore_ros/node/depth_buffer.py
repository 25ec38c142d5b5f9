"""Keep depth images until the labels of their moment are there."""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import Any

from lemore_ros.messages.common import stamp_ns

CAPACITY = 30
# messages of one camera overtake each other by less; more is a clock that was set back
JUMP_NS = 1_000_000_000


class DepthBuffer:
    """Keep the last depth messages of one camera by stamp; safe to use from several threads.

    It holds ``capacity`` messages with a stamp, and the newest one without (a stamp of zero), which
    is paired only with a frame without a stamp. A stamp more than a second older than the newest
    means that time jumped back, as when a bag starts over: the buffer is cleared.
    """

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._stamps: list[int] = []
        self._messages: list[Any] = []
        self._unstamped: Any = None

    def __len__(self) -> int:
        with self._lock:
            return len(self._messages) + (self._unstamped is not None)

    def put(self, message: Any) -> None:
        """Add a message; it replaces one with the same stamp."""
        stamp = stamp_ns(message.header)
        with self._lock:
            if stamp == 0:
                self._unstamped = message
                return
            if self._stamps and stamp < self._stamps[-1] - JUMP_NS:
                self._clear()
            place = bisect_left(self._stamps, stamp)
            same = self._stamps[place : place + 1] == [stamp]
            self._stamps[place : place + same] = [stamp]
            self._messages[place : place + same] = [message]
            # the oldest goes, even if it just arrived
            del self._stamps[: -self._capacity], self._messages[: -self._capacity]

    def nearest(self, stamp: int, tolerance_ns: int) -> Any:
        """Return the message nearest to ``stamp`` (ns), ``None`` beyond ``tolerance_ns``.

        Of two that are equally near, the earlier one is returned.
        """
        with self._lock:
            if stamp == 0:
                return self._unstamped
            place = bisect_left(self._stamps, stamp)
            around = range(max(0, place - 1), min(place + 1, len(self._stamps)))
            best = min(around, key=lambda index: abs(self._stamps[index] - stamp), default=None)
            if best is None or abs(self._stamps[best] - stamp) > tolerance_ns:
                return None
            return self._messages[best]

    def clear(self) -> None:
        """Drop all messages."""
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        self._stamps.clear()
        self._messages.clear()
        self._unstamped = None
