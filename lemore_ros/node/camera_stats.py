"""Counts, rates and latencies of one camera, and whether it is well."""

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
# of the frames that came, more than this share replaced by newer ones is more than jitter
FALLING_BEHIND = 0.1
FEWEST_FRAMES = 10

COUNTS = ('received', 'skipped', 'dropped', 'accepted', 'failed', 'lost', 'labelled')


@dataclass(frozen=True)
class Verdict:
    """A verdict for a person, and the figures behind it."""

    level: bytes
    message: str
    values: dict[str, str]


class CameraStats:
    """Counters of one camera while the node is configured; safe to use from several threads.

    Every message is ``received``. It is ``skipped`` where it came too soon for ``max_rate_hz``, and
    ``failed`` where its pixels cannot be read. The others are ``dropped`` where a newer one came
    before the worker was free, else ``accepted`` by it, and then ``labelled`` or ``failed``. Those
    that the middleware ``lost`` never arrived.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
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
        """Return the seconds since the last frame, zero while it is not overdue or not expected.

        It is overdue after ``least`` seconds, and after ``OVERDUE`` times as long as the last two
        frames were apart: a camera may be slow.
        """
        with self._lock:
            return self._silent_s(least)

    def expect_frames(self, idle: str | None = None) -> None:
        """Expect images from now on, or with ``idle`` none, and why."""
        with self._lock:
            self._idle = idle
            self._since = self._last_frame = self._clock()
            self._heard, self._apart = False, 0.0
            for times in self._times.values():
                times.clear()

    def count(self, name: str, number: int = 1) -> None:
        """Count messages or frames, by one of ``COUNTS`` that needs no more to be known."""
        with self._lock:
            self._count(name, number)

    def count_received(self) -> None:
        """Count a message that arrived."""
        with self._lock:
            now = self._clock()
            self._apart = now - self._last_frame if self._heard else 0.0
            self._last_frame, self._heard = now, True
            self._count('received')

    def add_intake(self, milliseconds: float) -> None:
        """Add the time that a message took to become an image."""
        with self._lock:
            self._intake.append(milliseconds)

    def count_failed(self, reason: str) -> None:
        """Count a message or frame that could not be labelled."""
        with self._lock:
            self._count('failed')
            self._failure = reason

    def count_labelled(
        self, age_ms: float | None, segmenter_ms: float, work_ms: float, resized: str = ''
    ) -> None:
        """Count a published frame.

        ``age_ms`` is the time from the camera's stamp to publication, ``None`` where the stamp is
        not of this node's clock;
        ``segmenter_ms`` and ``work_ms`` went into segmenting it and into publishing the outcome;
        ``resized`` is the reason if the network did not see it in its own aspect.
        """
        with self._lock:
            self._count('labelled')
            self._failure = None
            self._resized = resized
            self._segmenter.append(segmenter_ms)
            self._work.append(work_ms)
            self._ages.append(age_ms)

    def verdict(self) -> Verdict:
        """Return the verdict and the figures of this moment."""
        with self._lock:
            rates = {name: self._rate(name) for name in self._times}
            level, message = self._judge(rates)
            return Verdict(level, message, self._values(rates))

    def _count(self, name: str, number: int = 1) -> None:
        self._counts[name] += number
        if name in self._times:
            self._times[name].append(self._clock())

    def _judge(self, rates: dict[str, float]) -> tuple[bytes, str]:
        if self._idle is not None:
            return DiagnosticStatus.OK, self._idle
        if self.stuck_s >= STUCK_S:
            return DiagnosticStatus.ERROR, f'the network has not answered for {self.stuck_s} s'
        if self._failure is not None:
            return DiagnosticStatus.ERROR, f'the last frame failed: {self._failure}'
        silent_s = self._silent_s(NO_IMAGE_S)
        if silent_s:
            return DiagnosticStatus.WARN, f'no image arrived for {silent_s:.0f} s'
        dropped = len(self._times['dropped'])
        if dropped >= max(FEWEST_FRAMES, FALLING_BEHIND * len(self._times['received'])):
            return DiagnosticStatus.WARN, (
                f'falling behind: {rates["labelled"]:.0f} of {rates["received"]:.0f} images a '
                'second are segmented, the newest ones: set max_rate_hz to receive fewer'
            )
        return DiagnosticStatus.OK, ', '.join(filter(None, ['segmenting', self._resized]))

    def _silent_s(self, least: float) -> float:
        gap_s = self._clock() - self._last_frame
        due_s = max(least, min(OVERDUE * self._apart, LONGEST_WAIT_S))
        expected = self._idle is None and gap_s >= due_s
        return gap_s if expected else 0.0

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
        now, times = self._clock(), self._times[name]
        while times and times[0] <= now - RATE_WINDOW_S:
            times.popleft()
        window = min(RATE_WINDOW_S, now - self._since)
        return len(times) / window if window > 0 else 0.0


def _percentiles(name: str, values: Iterable[float]) -> dict[str, str]:
    return {f'{name}_p{share}_ms': f'{_percentile(values, share):.1f}' for share in (50, 95)}


def _percentile(values: Any, share: int) -> float:
    return float(np.percentile(values or [np.nan], share))
