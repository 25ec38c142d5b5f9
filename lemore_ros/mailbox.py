"""A place for one thing: the newest."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar('T')


class Mailbox(Generic[T]):
    """Hands the newest item from one thread to another.

    An item that is not taken before the next one comes is replaced by it, so that a slow reader
    lags by one item at most. ``replaced`` counts the items that nobody took.
    """

    def __init__(self) -> None:
        self.replaced = 0
        self._item: T | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Leave an item; return whether it replaced one that was not taken.

        A closed mailbox takes nothing.
        """
        with self._changed:
            if self._closed:
                return False
            replaces = self._discard()
            self._item = item
            self._changed.notify()
            return replaces

    def take(self) -> T | None:
        """Wait for an item and take it out; ``None`` once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._item is not None)
            item, self._item = self._item, None
            return item

    def clear(self) -> bool:
        """Throw the waiting item away; return whether there was one."""
        with self._changed:
            return self._discard()

    def close(self) -> bool:
        """Wake the reader for good; return whether an item was waiting, which is thrown away."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self._discard()

    def _discard(self) -> bool:
        waiting = self._item is not None
        self._item = None
        self.replaced += waiting
        return waiting
