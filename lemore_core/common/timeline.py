"""Times of images from their stamps, which jump where a clock is set or a recording pauses."""

from __future__ import annotations

LONGEST_STEP_NS, USUAL_STEP_NS = 60 * 10**9, 10**8
LONGEST_DELAY_NS = 10**9  # no image is late by more
SHORTEST_STEP_NS = 11_112  # one tick of video containers


class Timeline:
    """Times without the jumps of the stamps, all in nanoseconds.

    ``time_ns`` is the last one, ``cut_ns`` are the lengths of the jumps.
    """

    def __init__(self) -> None:
        self.cut_ns: list[int] = []
        self.time_ns = 0
        self._step = USUAL_STEP_NS
        self._stamp: int | None = None

    def add(self, stamp_ns: int) -> bool:
        """Go on to the time of a stamp; return whether it is after the one before."""
        if self._stamp is not None:
            step = stamp_ns - self._stamp
            if -LONGEST_DELAY_NS <= step < SHORTEST_STEP_NS:
                return False
            if 0 < step <= LONGEST_STEP_NS:
                self._step = step
            else:
                self.cut_ns.append(step)
            self.time_ns += self._step
        self._stamp = stamp_ns
        return True
