"""Keep depth images until the labels of their moment are there."""

from __future__ import annotations

import threading
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
        self._messages: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Any) -> None:
        """Add a message; it replaces one with the same stamp."""
        stamp = stamp_ns(message.header)
        with self._lock:
            if stamp and stamp < max(self._messages, default=0) - JUMP_NS:
                self._messages.clear()
            self._messages[stamp] = message
            stamps = [one for one in self._messages if one]
            if len(stamps) > self._capacity:
                del self._messages[min(stamps)]

    def nearest(self, stamp: int, tolerance_ns: int) -> Any:
        """Return the message nearest to ``stamp`` (ns), ``None`` beyond ``tolerance_ns``."""
        with self._lock:
            if stamp == 0:
                return self._messages.get(0)
            near = [one for one in self._messages if one and abs(one - stamp) <= tolerance_ns]
            best = min(near, key=lambda one: (abs(one - stamp), one), default=None)
            return None if best is None else self._messages[best]

    def clear(self) -> None:
        """Drop all messages."""
        with self._lock:
            self._messages.clear()
