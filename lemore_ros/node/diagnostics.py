"""Publish the health of every camera on ``/diagnostics`` once a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration

from lemore_core.common.memory import ProcessMemoryError, process_memory
from lemore_core.segmenter import Segmenter
from lemore_ros.node.camera_stats import CameraStats

PERIOD_S = 1.0
QUEUE = 10
LAST_WAIT = Duration(seconds=1)


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
        self._node = node
        self._stats = stats
        self._segmenter = segmenter
        self._constants = constants
        self._before = before
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
        health, serving = stats.health(), self._segmenter.status
        level, message = health.level, health.message
        if serving.degraded:
            level = max(level, DiagnosticStatus.WARN)
            message = f'{message}, degraded: {serving.degraded}'
        device_mb = self._segmenter.device_memory_mb
        values = {
            **health.values,
            'backend': serving.backend,
            'device': serving.device,
            'precision': serving.precision,
            'engine': serving.engine,
            'degraded': serving.degraded,
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
