"""What goes wrong with every frame, said now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lemore_core.common.errors import printable

PERIOD_S = 5.0
# different lines in a period: a hostile sender may have as many kinds as it likes
MOST = 5
EPISODE_S = 60.0


class ThrottledLogger:
    """Logs each kind of trouble with a topic at most once in ``PERIOD_S``; for several threads.

    Of one episode :meth:`warn_once` logs one line: until its kind has not come for ``EPISODE_S``.

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
        self._episodes: dict[str, float] = {}

    def warn(self, kind: str, text: str) -> None:
        """Log a warning, unless one of its kind was logged just now."""
        if self._is_due(kind):
            self._logger.warning(self._line(text))

    def error(self, kind: str, text: str) -> None:
        """Log an error, unless one of its kind was logged just now."""
        if self._is_due(kind):
            self._logger.error(self._line(text))

    def warn_once(self, kind: str, text: str) -> None:
        """Log a warning, unless its kind has come all the time since it was logged."""
        now, last = self._clock(), self._episodes.get(kind)
        self._episodes[kind] = now
        if last is None or now - last >= EPISODE_S:
            self._logger.warning(self._line(text))

    def _line(self, text: str) -> str:
        return f'{self._topic}: {printable(text)}'

    def _is_due(self, kind: str) -> bool:
        now = self._clock()
        said = {one: when for one, when in self._said.items() if now - when < PERIOD_S}
        if kind in said or len(said) == MOST:
            return False
        self._said = said | {kind: now}
        return True
