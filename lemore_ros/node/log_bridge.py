"""What the library logs, in the node's log: on ``/rosout`` and the console."""

from __future__ import annotations

import logging
from typing import Any

LIBRARY = 'lemore_core'


class CoreLog(logging.Handler):
    """Passes the records of the library on to a node's logger until it is closed.

    The library's level is what it was before, once the last of several nodes has closed its own.
    """

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.INFO)
        self._logger = logger
        source = logging.getLogger(LIBRARY)
        others = [handler for handler in source.handlers if isinstance(handler, CoreLog)]
        self.level_before: int = others[0].level_before if others else source.level
        source.setLevel(logging.INFO)
        source.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record with the node's logger."""
        text = record.getMessage()
        # a logger of rclpy has one severity for each line of code that calls it
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)

    def close(self) -> None:
        """Pass nothing on any more."""
        source = logging.getLogger(LIBRARY)
        source.removeHandler(self)
        if not any(isinstance(handler, CoreLog) for handler in source.handlers):
            source.setLevel(self.level_before)
        super().close()
