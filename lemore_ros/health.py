"""What the node did lately, counted, and told as a diagnostic message."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

RATE_WINDOW_S = 5.0
LATENCY_WINDOW = 300
SILENCE_S = 3.0


@dataclass(frozen=True)
class Identity:
    """What is constant in the diagnostics: the name of the status and what serves the frames."""

    name: str
    backend: str
    device: str
    model: str
    dataset: str


class Health:
    """Counters of one configured node; safe to use from several threads.

    Every message is ``received``. One whose pixels cannot be read is ``failed``; the others are
    ``dropped`` where a newer one came before the worker was free, else ``accepted`` by it, and
    then ``labelled`` or ``failed``. Those that the middleware ``lost`` never arrived.
    """

    def __init__(self, identity: Identity, clock: Callable[[], float] = time.monotonic) -> None:
        self.identity = identity
        self.lost = self.received = self.dropped = self.accepted = self.failed = self.labelled = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: str | None = 'inactive'
        self._since = self._last_frame = clock()
        self._failure: str | None = None
        self._labelled_at: deque[float] = deque()
        self._latencies: deque[float] = deque(maxlen=LATENCY_WINDOW)

    def expect_frames(self, idle: str | None = None) -> None:
        """Say that frames are expected from now on, or with ``idle`` why they are not."""
        with self._lock:
            self._idle = idle
            self._since = self._last_frame = self._clock()
            self._labelled_at.clear()

    def count_lost(self, messages: int) -> None:
        """Count messages that the middleware lost on the way."""
        with self._lock:
            self.lost += messages

    def count_received(self) -> None:
        """Count a message that arrived."""
        with self._lock:
            self.received += 1
            self._last_frame = self._clock()

    def count_dropped(self) -> None:
        """Count a frame that a newer one replaced."""
        with self._lock:
            self.dropped += 1

    def count_accepted(self) -> None:
        """Count a frame that the worker took."""
        with self._lock:
            self.accepted += 1

    def count_failed(self, reason: str) -> None:
        """Count a message or frame that could not be labelled."""
        with self._lock:
            self.failed += 1
            self._failure = reason

    def count_labelled(self, latency_ms: float | None) -> None:
        """Count a published frame; latency from camera stamp to publication, if it has a stamp."""
        with self._lock:
            self.labelled += 1
            self._failure = None
            self._labelled_at.append(self._clock())
            if latency_ms is not None:
                self._latencies.append(latency_ms)

    def to_message(self, stamp: Any) -> DiagnosticArray:
        """Return the counters as a ``diagnostic_msgs/DiagnosticArray`` of that time."""
        with self._lock:
            level, message = self._verdict()
            values = self._values()
        status = DiagnosticStatus(
            level=level,
            name=self.identity.name,
            message=message,
            hardware_id=self.identity.device,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = stamp
        return array

    def _verdict(self) -> tuple[bytes, str]:
        if self._idle is not None:
            return DiagnosticStatus.OK, self._idle
        if self._failure is not None:
            return DiagnosticStatus.ERROR, f'the last frame failed: {self._failure}'
        silence = self._clock() - self._last_frame
        if silence >= SILENCE_S:
            return DiagnosticStatus.WARN, f'no image arrived for {silence:.0f} s'
        return DiagnosticStatus.OK, 'labelling'

    def _values(self) -> dict[str, str]:
        p50, p95 = np.percentile(self._latencies or [np.nan], (50, 95))
        return {
            'received': str(self.received),
            'dropped': str(self.dropped),
            'accepted': str(self.accepted),
            'failed': str(self.failed),
            'lost': str(self.lost),
            'labelled': str(self.labelled),
            'rate_hz': f'{self._rate():.2f}',
            'latency_p50_ms': f'{p50:.1f}',
            'latency_p95_ms': f'{p95:.1f}',
            'backend': self.identity.backend,
            'device': self.identity.device,
            'model': self.identity.model,
            'dataset': self.identity.dataset,
        }

    def _rate(self) -> float:
        now = self._clock()
        while self._labelled_at and self._labelled_at[0] <= now - RATE_WINDOW_S:
            self._labelled_at.popleft()
        window = min(RATE_WINDOW_S, now - self._since)
        return len(self._labelled_at) / window if window > 0 else 0.0
