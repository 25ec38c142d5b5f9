"""Count the frames of every camera, and publish their health on ``/diagnostics`` once a second."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration

from lemore_core.common.memory import ProcessMemoryError, process_memory
from lemore_core.familiarity import UNFAMILIAR
from lemore_core.segmenter import Segmenter

PERIOD_S = 1.0
QUEUE = 10
LAST_WAIT = Duration(seconds=1)
RATE_WINDOW_S = 5.0
FRAMES_REMEMBERED = 300
NO_IMAGE_S = 3.0
STUCK_S = 3
OVERDUE, LONGEST_WAIT_S = 3.0, 60.0
UNKNOWN_CLOCK = 'unknown clock'
# an unfamiliar frame is no unfamiliar scene
UNFAMILIAR_S, FAMILIAR_AGAIN = 3.0, 2 * UNFAMILIAR
# a larger share of replaced frames is more than jitter
FALLING_BEHIND = 0.1
FEWEST_FRAMES = 10

COUNTS = ('received', 'skipped', 'dropped', 'accepted', 'failed', 'lost', 'labelled')
# those of which the rate is known
TIMED = ('received', 'dropped', 'labelled')
# of the status of the Segmenter
SERVING = ('backend', 'device', 'precision', 'engine', 'degraded', 'preparing')
# milliseconds: age of the labels, decoding, network, and publishing
TIMES = ('age', 'intake', 'segmenter', 'work')


class Health(NamedTuple):
    """Level, message and values of a diagnostic status."""

    level: bytes
    message: str
    values: dict[str, str]


class CameraStats:
    """Counters of one camera while the node is configured; safe to use from several threads.

    Every message is ``received``. It is ``skipped`` if it exceeds ``max_rate_hz``, ``dropped`` if a
    newer one came before the worker was free, ``failed`` if its pixels cannot be read, and else
    ``accepted`` by the worker, and then ``labelled`` or ``failed``. Messages ``lost`` were published
    and never received: lost on their way, or overwritten by newer ones before they were read.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        # seconds for which the network has not answered
        self.stuck_s = 0
        self._lock = threading.RLock()
        self._counts: Counter[str] = Counter()
        self._recent = {name: deque[float]() for name in TIMED}
        self._times_ms = {name: deque[float](maxlen=FRAMES_REMEMBERED) for name in TIMES}
        self._failure = self._resized = ''
        self._familiarity: float | None = None
        self._sureness: float | None = None
        self._unfamiliar_since = math.inf
        self.expect_frames(idle='inactive')

    def __getitem__(self, count: str) -> int:
        """Return one of ``COUNTS``."""
        with self._lock:
            return self._counts[count]

    def expect_frames(self, idle: str = '') -> None:
        """Expect images from now on, or none for the reason ``idle``."""
        with self._lock:
            self._idle = idle
            self._since = self._last_frame = self.clock()
            self._good, self._failure, self._silence = self._since, '', ''
            self._heard, self._apart, self._unfamiliar_since = False, 0.0, math.inf
            for times in self._recent.values():
                times.clear()

    def silent_s(self, least: float = NO_IMAGE_S) -> float:
        """Return the seconds without a frame, zero below ``least`` and ``OVERDUE`` intervals."""
        with self._lock:
            gap_s = self.clock() - self._last_frame
            due_s = max(least, min(OVERDUE * self._apart, LONGEST_WAIT_S))
            return gap_s if not self._idle and gap_s >= due_s else 0.0

    def failing_s(self) -> float:
        """Return the seconds for which every frame has failed, zero if the last one did not."""
        with self._lock:
            return self.clock() - self._good if self._failure else 0.0

    def explain_silence(self, reason: str) -> None:
        """Set why no frame comes, until one does."""
        with self._lock:
            self._silence = reason

    def count(self, name: str, number: int = 1) -> None:
        """Add to one of ``COUNTS``."""
        with self._lock:
            now = self.clock()
            self._counts[name] += number
            if name in TIMED:
                self._recent[name].append(now)
            if name == 'received':
                self._apart = now - self._last_frame if self._heard else 0.0
                self._last_frame, self._heard, self._silence = now, True, ''

    def count_failed(self, reason: str) -> None:
        """Count a message or frame that could not be segmented."""
        with self._lock:
            self.count('failed')
            self._failure = reason

    def count_labelled(
        self,
        resized: str = '',
        familiarity: float | None = None,
        sureness: float | None = None,
    ) -> None:
        """Count a published frame with its figures, and say why its image was resized."""
        with self._lock:
            self.count('labelled')
            self._failure, self._resized = '', resized
            self._good = self.clock()
            self._familiarity, self._sureness = familiarity, sureness
            if familiarity is None or familiarity >= FAMILIAR_AGAIN:
                self._unfamiliar_since = math.inf
            elif familiarity < UNFAMILIAR:
                self._unfamiliar_since = min(self._unfamiliar_since, self.clock())

    def add_times(self, **times_ms: float) -> None:
        """Add to some of ``TIMES``; an age by an unknown clock is NaN."""
        with self._lock:
            for name, value in times_ms.items():
                self._times_ms[name].append(value)

    def health(self) -> Health:
        """Return level, message and values of this moment."""
        with self._lock:
            rates = {name: self._rate(name) for name in TIMED}
            return Health(*self._judge(rates), self._values(rates))

    def _judge(self, rates: Mapping[str, float]) -> tuple[bytes, str]:
        if self._idle:
            return DiagnosticStatus.OK, self._idle
        if self.stuck_s >= STUCK_S:
            return DiagnosticStatus.ERROR, f'the network has not answered for {self.stuck_s} s'
        if self._failure:
            return DiagnosticStatus.ERROR, f'the last frame failed: {self._failure}'
        if silent_s := self.silent_s():
            why = f': {self._silence}' if self._silence else ''
            return DiagnosticStatus.WARN, f'no image arrived for {silent_s:.0f} s{why}'
        dropped, received = (len(self._recent[name]) for name in ('dropped', 'received'))
        if dropped >= max(FEWEST_FRAMES, FALLING_BEHIND * received):
            return DiagnosticStatus.WARN, (
                f'falling behind: {rates["labelled"]:.0f} of {rates["received"]:.0f} images a '
                'second are segmented, the newest ones: set max_rate_hz to receive fewer'
            )
        unlike = self._unlike()
        level = DiagnosticStatus.WARN if unlike else DiagnosticStatus.OK
        return level, ', '.join(filter(None, ['segmenting', self._resized, unlike]))

    def _unlike(self) -> str:
        for_s = self.clock() - self._unfamiliar_since
        if for_s < UNFAMILIAR_S:
            return ''
        sureness = '' if self._sureness is None else f', mean confidence {self._sureness:.2f}'
        return (
            f'this scene is unlike the training data since {for_s:.0f} s: familiarity '
            f'{self._familiarity:.2f}{sureness}'
        )

    def _values(self, rates: Mapping[str, float]) -> dict[str, str]:
        scene = {'familiarity': self._familiarity, 'sureness': self._sureness}
        work = sum(np.median(self._times_ms[name] or [np.nan]) for name in ('work', 'intake'))
        return {
            **{name: str(self._counts[name]) for name in COUNTS},
            'rate_in_hz': f'{rates["received"]:.2f}',
            'rate_hz': f'{rates["labelled"]:.2f}',
            **_percentiles('age', self._times_ms['age']),
            **_percentiles('segmenter', self._times_ms['segmenter']),
            'work_p50_ms': f'{work:.2f}',
            **{name: f'{share:.3f}' for name, share in scene.items() if share is not None},
        }

    def _rate(self, name: str) -> float:
        now, times = self.clock(), self._recent[name]
        while times and times[0] <= now - RATE_WINDOW_S:
            times.popleft()
        window = min(RATE_WINDOW_S, now - self._since)
        return len(times) / window if window > 0 else 0.0


def _percentiles(name: str, values: Collection[float]) -> dict[str, str]:
    known = [value for value in values if not np.isnan(value)]
    texts = [f'{value:.1f}' for value in np.percentile(known or [np.nan], (50, 95))]
    if values and not known:
        texts = [UNKNOWN_CLOCK] * 2
    return {f'{name}_p50_ms': texts[0], f'{name}_p95_ms': texts[1]}


class Diagnostics:
    """Publish a status for each camera of ``stats``; call ``before`` first every second."""

    def __init__(
        self,
        node: Any,
        stats: Mapping[str, CameraStats],
        segmenter: Segmenter,
        constants: Mapping[str, str],
        before: Callable[[], None],
    ) -> None:
        self._node, self._stats, self._segmenter = node, stats, segmenter
        self._constants, self._before = constants, before
        self._name = node.get_fully_qualified_name().lstrip('/')
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', QUEUE)
        # a simulation that stands still must not stop the diagnostics
        self._timer = node.create_timer(
            PERIOD_S, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def destroy(self) -> None:
        """Destroy the timer and the publisher."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)

    def publish_last(self, reason: str) -> None:
        """Publish why the process ends, from any thread, and wait for acknowledgement."""
        for stats in self._stats.values():
            stats.count_failed(reason)
        self._publisher.publish(self._message())
        self._publisher.wait_for_all_acked(LAST_WAIT)

    def _publish(self) -> None:
        self._before()
        self._publisher.publish(self._message())

    def _message(self) -> DiagnosticArray:
        message = DiagnosticArray(status=[self._status(*pair) for pair in self._stats.items()])
        message.header.stamp = self._node.get_clock().now().to_msg()
        return message

    def _status(self, camera: str, stats: CameraStats) -> DiagnosticStatus:
        (level, message, values), serving = stats.health(), self._segmenter.status
        if serving.degraded:
            level = max(level, DiagnosticStatus.WARN)
            message = f'{message}, degraded: {serving.degraded}'
        device_mb = self._segmenter.device_memory_mb
        values |= {
            **{name: getattr(serving, name) for name in SERVING},
            'device_memory_mb': '' if device_mb is None else f'{device_mb:.0f}',
            'memory_mb': _memory_mb(),
            'cpu_s': f'{time.process_time():.2f}',
            **self._constants,
        }
        return DiagnosticStatus(
            level=level,
            name=f'{self._name}: segmentation {camera}'.rstrip(),
            message=message,
            hardware_id=serving.device,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )


def _memory_mb() -> str:
    try:
        return f'{process_memory().resident_mb:.0f}'
    except ProcessMemoryError:  # not every system reports it
        return ''
