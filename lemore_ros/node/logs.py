"""Log errors of single frames at a limited rate, and forward the library's log to the node's."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any

from lemore_core.common.errors import printable

PERIOD_S = 5.0
# different lines in a period: a hostile sender may cause as many kinds as it likes
MOST = 5
EPISODE_S = 60.0
LIBRARY = logging.getLogger('lemore_core')


def log(logger: Any, level: int, text: str) -> None:
    """Log foreign text with a logger of rclpy and a level of ``logging``."""
    # rclpy has one severity for each line of code that logs
    if level >= logging.ERROR:
        logger.error(printable(text))
    elif level >= logging.WARNING:
        logger.warning(printable(text))
    else:
        logger.info(printable(text))


class ThrottledLogger:
    """Log each text of a topic at most once in ``PERIOD_S``, whatever its numbers; for several threads."""

    # rclpy's own throttle is one for each line of code: one camera's errors would hide another's

    def __init__(
        self, logger: Any, topic: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger, self.topic, self._clock = logger, topic, clock
        self._logged: dict[str, float] = {}
        self._episodes: dict[str, float] = {}

    def log(self, level: int, text: str, *, once: bool = False) -> None:
        """Log with a level of ``logging``; ``once`` until ``EPISODE_S`` pass without the text."""
        # numbers differ from frame to frame, another text is news
        kind = re.sub(r'-?\d+', '', text)
        if self._is_new(kind) if once else self._is_due(kind):
            log(self._logger, level, f'{self.topic}: {text}')

    def _is_new(self, kind: str) -> bool:
        now = self._clock()
        recent = {one: when for one, when in self._episodes.items() if now - when < EPISODE_S}
        self._episodes = recent | {kind: now}
        return kind not in recent

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
        log(self._logger, record.levelno, record.getMessage())

    def close(self) -> None:
        """Stop forwarding."""
        LIBRARY.removeHandler(self)
        if not any(isinstance(handler, CoreLog) for handler in LIBRARY.handlers):
            LIBRARY.setLevel(self.level_before)
        super().close()
