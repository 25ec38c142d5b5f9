"""Keep only the latest item of each sender."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar('T')


class Mailbox(Generic[T]):
    """Hand the newest item of each sender to one reading thread.

    A newer item replaces one that waits, so that a slow reader lags by one item of a sender at
    most. The sender served longest ago comes first, however often the others send.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, T] = {}
        # the longer ago a sender was served, the further in front it stands
        self._turns: dict[str, None] = {}
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T, sender: str = '') -> bool:
        """Leave an item unless the mailbox is closed; return whether it replaced a waiting one."""
        with self._changed:
            if self._closed:
                return False
            replaces = sender in self._waiting
            self._waiting[sender] = item
            self._turns.setdefault(sender)
            self._changed.notify()
            return replaces

    def take(self, most: int = 1) -> list[T]:
        """Wait for items and take out up to ``most``, one a sender; none once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            senders = [sender for sender in self._turns if sender in self._waiting][:most]
            for sender in senders:
                self._turns[sender] = self._turns.pop(sender)
            return [self._waiting.pop(sender) for sender in senders]

    def clear(self, sender: str = '') -> bool:
        """Drop the waiting item of a sender; return whether there was one."""
        with self._changed:
            return self._waiting.pop(sender, None) is not None

    def close(self) -> int:
        """Wake the reader for good; return the number of waiting items, which are dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            dropped = len(self._waiting)
            self._waiting.clear()
            return dropped
