"""The thread on which frames are labelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from lemore_core.mailbox import Mailbox

T = TypeVar('T')


class Worker(Generic[T]):
    """Calls ``process`` with the newest items of a mailbox until it is stopped.

    Up to ``most()`` items, each of another sender, are processed together. ``process`` raises
    nothing: an exception would end the thread. Inference stays on this one thread, as compiled
    models and CUDA graphs ask for.
    """

    def __init__(
        self,
        mailbox: Mailbox[T],
        process: Callable[[list[T]], None],
        most: Callable[[], int] = lambda: 1,
    ) -> None:
        self._mailbox = mailbox
        self._process = process
        self._most = most
        self._thread = threading.Thread(target=self._run, name='lemore_worker', daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> int:
        """Close the mailbox and wait for the items in hand.

        Returns how many were still waiting; they are thrown away.
        """
        waiting = self._mailbox.close()
        if self._thread.is_alive():
            self._thread.join()
        return waiting

    def _run(self) -> None:
        while items := self._mailbox.take(self._most()):
            self._process(items)
            # else the last images stay in memory until the next ones come
            del items
