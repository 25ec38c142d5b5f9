"""The thread on which frames are labelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from lemore_ros.mailbox import Mailbox

T = TypeVar('T')


class Worker(Generic[T]):
    """Calls ``process`` with the newest item of a mailbox, one at a time, until it is stopped.

    No exception of an item ends it: ``failed`` counts them and ``on_error`` is told, on the
    worker's thread. Inference stays on this one thread, as compiled models ask for.
    """

    def __init__(
        self,
        mailbox: Mailbox[T],
        process: Callable[[T], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.failed = 0
        self._mailbox = mailbox
        self._process = process
        self._on_error = on_error
        self._thread = threading.Thread(target=self._run, name='lemore_worker', daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> bool:
        """Close the mailbox and wait for the item in flight.

        Returns whether an item was still waiting; it is thrown away.
        """
        waiting = self._mailbox.close()
        if self._thread.is_alive():
            self._thread.join()
        return waiting

    def _run(self) -> None:
        while (item := self._mailbox.take()) is not None:
            try:
                self._process(item)
            except Exception as error:  # noqa: BLE001 - one frame must not silence the node
                self.failed += 1
                self._on_error(error)
            # else the last picture stays in memory until the next one comes
            del item
