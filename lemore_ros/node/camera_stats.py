"""Counts, rates, latencies and health of one camera."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus

RATE_WINDOW_S = 5.0
FRAMES_REMEMBERED = 300
NO_IMAGE_S = 3.0
STUCK_S = 3
OVERDUE, LONGEST_WAIT_S = 3.0, 60.0
UNKNOWN_CLOCK = 'unknown clock'
# a larger share of replaced frames is more than jitter
FALLING_BEHIND = 0.1
FEWEST_FRAMES = 10

COUNTS = ('received', 'skipped', 'dropped', 'accepted', 'failed', 'lost', 'labelled')


@dataclass(frozen=True)
class Health:
    """Level, message and values of a diagnostic status."""

    level: bytes
    message: str
    values: dict[str, str]


class RateLimit:
    """Admit a number of events a second, evenly, although they jitter.

    An event that comes a little early is admitted, and the next one is due a period after it was
    due, not after it came. So 30 Hz limited to 15 Hz are 15 Hz, not 10.
    """

    EARLY = 0.25

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = 0.0

    def admits(self, rate_hz: float) -> bool:
        """Return whether an event now is within ``rate_hz``; zero admits all."""
        if rate_hz <= 0:
            return True
        now, period = self._clock(), 1.0 / rate_hz
        if now < self._due - self.EARLY * period:
            # a rate that was raised counts from now
            self._due = min(self._due, now + (1 + self.EARLY) * period)
            return False
        # a gap of more than a period is not made up for
        self._due = (now if now - self._due > period else self._due) + period
        return True


class CameraStats:
    """Counters of one camera while the node is configured; safe to use from several threads.

    Every message is ``received``. It is ``skipped`` if it exceeds ``max_rate_hz``, ``dropped`` if a
    newer one came before the worker was free, ``failed`` if its pixels cannot be read, and else
    ``accepted`` by the worker, and then ``labelled`` or ``failed``. Messages that the middleware
    ``lost`` never arrived.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.RLock()
        self._counts: Counter[str] = Counter()
        self._idle: str | None = 'inactive'
        self._since = self._last_frame = clock()
        self._heard, self._apart = False, 0.0
        self._failure: str | None = None
        self._resized = ''
        # seconds for which the network has not answered
        self.stuck_s = 0
        self._times = {name: deque[float]() for name in ('received', 'dropped', 'labelled')}
        self._ages: deque[float | None] = deque(maxlen=FRAMES_REMEMBERED)
        self._segmenter, self._work, self._intake = (
            deque[float](maxlen=FRAMES_REMEMBERED) for _ in range(3)
        )

    def __getitem__(self, count: str) -> int:
        """Return one of ``COUNTS``."""
        with self._lock:
            return self._counts[count]

    def silent_s(self, least: float = NO_IMAGE_S) -> float:
        """Return the seconds without a frame, zero below ``least`` and ``OVERDUE`` intervals."""
        with self._lock:
            gap_s = self.clock() - self._last_frame
            due_s = max(least, min(OVERDUE * self._apart, LONGEST_WAIT_S))
            return gap_s if self._idle is None and gap_s >= due_s else 0.0

    def expect_frames(self, idle: str | None = None) -> None:
        """Expect images from now on, or none for the reason ``idle``."""
        with self._lock:
            self._idle = idle
            self._since = self._last_frame = self.clock()
            self._heard, self._apart = False, 0.0
            for times in self._times.values():
                times.clear()

    def count(self, name: str, number: int = 1) -> None:
        """Add to one of ``COUNTS``."""
        with self._lock:
            self._counts[name] += number
            if name in self._times:
                self._times[name].append(self.clock())

    def count_received(self) -> None:
        """Count a message that arrived."""
        with self._lock:
            now = self.clock()
            self._apart = now - self._last_frame if self._heard else 0.0
            self._last_frame, self._heard = now, True
            self.count('received')

    def add_intake(self, milliseconds: float) -> None:
        """Add the time that decoding a message took."""
        with self._lock:
            self._intake.append(milliseconds)

    def count_failed(self, reason: str) -> None:
        """Count a message or frame that could not be segmented."""
        with self._lock:
            self.count('failed')
            self._failure = reason

    def count_labelled(
        self, age_ms: float | None, segmenter_ms: float, work_ms: float, resized: str = ''
    ) -> None:
        """Count a published frame: age (``None``: unknown clock), times, why resized."""
        with self._lock:
            self.count('labelled')
            self._failure = None
            self._resized = resized
            self._segmenter.append(segmenter_ms)
            self._work.append(work_ms)
            self._ages.append(age_ms)

    def health(self) -> Health:
        """Return level, message and values of this moment."""
        with self._lock:
            rates = {name: self._rate(name) for name in self._times}
            return Health(*self._judge(rates), self._values(rates))

    def _judge(self, rates: dict[str, float]) -> tuple[bytes, str]:
        if self._idle is not None:
            return DiagnosticStatus.OK, self._idle
        if self.stuck_s >= STUCK_S:
            return DiagnosticStatus.ERROR, f'the network has not answered for {self.stuck_s} s'
        if self._failure is not None:
            return DiagnosticStatus.ERROR, f'the last frame failed: {self._failure}'
        if silent_s := self.silent_s():
            return DiagnosticStatus.WARN, f'no image arrived for {silent_s:.0f} s'
        dropped = len(self._times['dropped'])
        if dropped >= max(FEWEST_FRAMES, FALLING_BEHIND * len(self._times['received'])):
            return DiagnosticStatus.WARN, (
                f'falling behind: {rates["labelled"]:.0f} of {rates["received"]:.0f} images a '
                'second are segmented, the newest ones: set max_rate_hz to receive fewer'
            )
        return DiagnosticStatus.OK, ', '.join(filter(None, ['segmenting', self._resized]))

    def _values(self, rates: dict[str, float]) -> dict[str, str]:
        ages = [age for age in self._ages if age is not None]
        known = _percentiles('age', ages)
        return {
            **{name: str(self._counts[name]) for name in COUNTS},
            'rate_in_hz': f'{rates["received"]:.2f}',
            'rate_hz': f'{rates["labelled"]:.2f}',
            **(dict.fromkeys(known, UNKNOWN_CLOCK) if self._ages and not ages else known),
            **_percentiles('segmenter', self._segmenter),
            'work_p50_ms': f'{_percentile(self._work, 50) + _percentile(self._intake, 50):.2f}',
        }

    def _rate(self, name: str) -> float:
        now, times = self.clock(), self._times[name]
        while times and times[0] <= now - RATE_WINDOW_S:
            times.popleft()
        window = min(RATE_WINDOW_S, now - self._since)
        return len(times) / window if window > 0 else 0.0


def _percentiles(name: str, values: Iterable[float]) -> dict[str, str]:
    return {f'{name}_p{share}_ms': f'{_percentile(values, share):.1f}' for share in (50, 95)}


def _percentile(values: Any, share: int) -> float:
    return float(np.percentile(values or [np.nan], share))
