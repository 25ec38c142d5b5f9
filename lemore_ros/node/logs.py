"""Log errors of single frames at a limited rate, and forward the library's log to the node's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from lemore_core.common.errors import printable

PERIOD_S = 5.0
# different lines in a period: a hostile sender may cause as many kinds as it likes
MOST = 5
EPISODE_S = 60.0
LIBRARY = logging.getLogger('lemore_core')


class ThrottledLogger:
    """Log each kind of error of a topic at most once in ``PERIOD_S``; for several threads."""

    # rclpy's own throttle is one for each line of code: one camera's errors would hide another's

    def __init__(
        self, logger: Any, topic: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger, self._topic, self._clock = logger, topic, clock
        self._logged: dict[str, float] = {}
        self._episodes: dict[str, float] = {}

    def warn(self, kind: str, text: str) -> None:
        """Log a warning, unless its kind was logged in the last ``PERIOD_S``."""
        if self._is_due(kind):
            self._logger.warning(self._line(text))

    def error(self, kind: str, text: str) -> None:
        """Log an error, unless its kind was logged in the last ``PERIOD_S``."""
        if self._is_due(kind):
            self._logger.error(self._line(text))

    def warn_once(self, kind: str, text: str) -> None:
        """Log a warning once an episode, which ends after ``EPISODE_S`` without its kind."""
        if self._is_new(kind):
            self._logger.warning(self._line(text))

    def info_once(self, kind: str, text: str) -> None:
        """Log once an episode what is no fault."""
        if self._is_new(kind):
            self._logger.info(self._line(text))

    def _line(self, text: str) -> str:
        return f'{self._topic}: {printable(text)}'

    def _is_new(self, kind: str) -> bool:
        now, last = self._clock(), self._episodes.get(kind)
        self._episodes[kind] = now
        return last is None or now - last >= EPISODE_S

    def _is_due(self, kind: str) -> bool:
        now = self._clock()
        logged = {one: when for one, when in self._logged.items() if now - when < PERIOD_S}
        if kind in logged or len(logged) == MOST:
            return False
        self._logged = logged | {kind: now}
        return True


class CoreLog(logging.Handler):
    """Forward the library's log to a node's logger; the last one to close restores its level."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.INFO)
        self._logger = logger
        others = [handler for handler in LIBRARY.handlers if isinstance(handler, CoreLog)]
        self.level_before: int = others[0].level_before if others else LIBRARY.level
        LIBRARY.setLevel(logging.INFO)
        LIBRARY.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record with the node's logger."""
        text = printable(record.getMessage())
        # a logger of rclpy has one severity for each line of code that calls it
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)

    def close(self) -> None:
        """Stop forwarding."""
        LIBRARY.removeHandler(self)
        if not any(isinstance(handler, CoreLog) for handler in LIBRARY.handlers):
            LIBRARY.setLevel(self.level_before)
        super().close()
