"""What goes wrong with every frame, said now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PERIOD_S = 5.0


class ThrottledLogger:
    """Logs each kind of trouble with a topic at most once in ``PERIOD_S``; for several threads.

    rclpy's own throttle is one for each line of code: what is wrong with one camera would hide what
    is wrong with another, and one kind of trouble the other kinds.
    """

    def __init__(
        self, logger: Any, topic: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._topic = topic
        self._clock = clock
        self._said: dict[str, float] = {}

    def warn(self, kind: str, text: str) -> None:
        """Log a warning, unless one of its kind was logged just now."""
        if self._is_due(kind):
            line = f'{self._topic}: {text}'
            self._logger.warning(line)

    def error(self, kind: str, text: str) -> None:
        """Log an error, unless one of its kind was logged just now."""
        if self._is_due(kind):
            line = f'{self._topic}: {text}'
            self._logger.error(line)

    def _is_due(self, kind: str) -> bool:
        now, last = self._clock(), self._said.get(kind)
        if last is not None and now - last < PERIOD_S:
            return False
        self._said[kind] = now
        return True
