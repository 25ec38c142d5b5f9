"""The cameras' statistics once a second, for diagnostics viewers and for people without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration

from lemore_core.common.memory import ProcessMemoryError, process_memory
from lemore_core.segmenter import Segmenter
from lemore_ros.node.camera_stats import CameraStats, Verdict

PERIOD_S = 1.0
QUEUE = 10
LAST_WAIT = Duration(seconds=1)


class Diagnostics:
    """Publishes on ``/diagnostics`` and the same on ``~/status`` until it is destroyed.

    A status for each of ``stats``, by camera. ``segmenter`` labels their frames, and ``constants``
    are values that never change. ``before`` is called first every time. An
    ``updater``, if there is one, publishes on ``/diagnostics`` under its own names.
    """

    def __init__(
        self,
        node: Any,
        stats: Mapping[str, CameraStats],
        segmenter: Segmenter,
        constants: Mapping[str, str],
        before: Callable[[], None],
        updater: Any,
    ) -> None:
        self._node = node
        self._stats = stats
        self._segmenter = segmenter
        self._constants = constants
        self._before = before
        self._name = node.get_fully_qualified_name().lstrip('/')
        self._own = node.create_publisher(DiagnosticArray, '~/status', QUEUE)
        self._updater = updater
        self._shared: Any = None
        if self._updater is None:
            self._shared = node.create_publisher(DiagnosticArray, '/diagnostics', QUEUE)
        else:
            for camera in stats:
                self._updater.add(_title(camera), self._task(camera))
        # a simulation that stands still must not stop the diagnostics
        self._timer = node.create_timer(
            PERIOD_S, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def destroy(self) -> None:
        """Publish no more."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._own)
        if self._updater is None:
            self._node.destroy_publisher(self._shared)
        else:
            for camera in self._stats:
                self._updater.removeByName(_title(camera))

    def publish_last(self, reason: str) -> None:
        """Publish why the process ends, from any thread, and wait for subscribers to have it."""
        for stats in self._stats.values():
            stats.count_failed(reason)
        publishers = [self._own]
        if self._updater is None:
            publishers.append(self._shared)
        else:
            self._updater.broadcast(DiagnosticStatus.ERROR, reason)
        for publisher in publishers:
            publisher.publish(self._message())
            publisher.wait_for_all_acked(LAST_WAIT)

    def _publish(self) -> None:
        self._before()
        message = self._message()
        self._own.publish(message)
        if self._updater is None:
            self._shared.publish(message)
        else:
            self._updater.setHardwareID(self._segmenter.status.device)
            self._updater.force_update()

    def _message(self) -> DiagnosticArray:
        message = DiagnosticArray(status=[self._status(camera) for camera in self._stats])
        message.header.stamp = self._node.get_clock().now().to_msg()
        return message

    def _status(self, camera: str) -> DiagnosticStatus:
        verdict = self._verdict(camera)
        return DiagnosticStatus(
            level=verdict.level,
            name=f'{self._name}: {_title(camera)}',
            message=verdict.message,
            hardware_id=self._segmenter.status.device,
            values=[KeyValue(key=key, value=value) for key, value in verdict.values.items()],
        )

    def _task(self, camera: str) -> Callable[[Any], Any]:
        def fill(status: Any) -> Any:
            mine = self._status(camera)
            status.level, status.message, status.values = mine.level, mine.message, mine.values
            return status

        return fill

    def _verdict(self, camera: str) -> Verdict:
        status = self._segmenter.status
        verdict = self._stats[camera].verdict()
        level, message = verdict.level, verdict.message
        if status.degraded:
            level = max(level, DiagnosticStatus.WARN)
            message = f'{message}, degraded: {status.degraded}'
        return Verdict(level, message, {**verdict.values, **self._values(), **self._constants})

    def _values(self) -> dict[str, str]:
        status = self._segmenter.status
        device_mb = self._segmenter.device_memory_mb
        return {
            'backend': status.backend,
            'device': status.device,
            'precision': status.precision,
            'engine': status.engine,
            'degraded': status.degraded,
            'device_memory_mb': '' if device_mb is None else f'{device_mb:.0f}',
            'memory_mb': _memory_mb(),
            'cpu_s': f'{time.process_time():.2f}',
        }


def _memory_mb() -> str:
    try:
        return f'{process_memory().resident_mb:.0f}'
    except ProcessMemoryError:
        # not every system tells
        return ''


def _title(camera: str) -> str:
    return f'segmentation {camera}'.rstrip()


def make_updater(node: Any) -> Any:
    """Return a ``diagnostic_updater.Updater``, or ``None`` where it is not installed.

    It declares parameters, so that a node can have one in its life.
    """
    try:
        from diagnostic_updater import Updater
    except ImportError:
        return None
    updater = Updater(node)
    # a timer of the ROS clock stands still with a simulation; it is updated from here
    updater.timer.cancel()
    return updater
