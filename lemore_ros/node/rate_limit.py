"""Holds a camera to a rate."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimit:
    """Admits so many events a second, evenly, however they come.

    A camera's frames jitter: one that comes a little early is admitted, and the next one is due a
    period after it was due, not after it came. So 30 Hz held to 15 Hz are 15 Hz, not 10.
    """

    EARLY = 0.25

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = 0.0

    def admits(self, rate_hz: float) -> bool:
        """Tell whether an event now is within ``rate_hz``; zero admits all."""
        if rate_hz <= 0:
            return True
        now, period = self._clock(), 1.0 / rate_hz
        if now < self._due - self.EARLY * period:
            # a rate that was raised counts from now
            self._due = min(self._due, now + (1 + self.EARLY) * period)
            return False
        # what did not come for longer than a period is not made up for
        self._due = (now if now - self._due > period else self._due) + period
        return True
