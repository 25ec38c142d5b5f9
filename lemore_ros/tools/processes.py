"""Start a node as another process, in a ROS graph of its own, with a camera and subscribers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from lemore_core.common.child import Child, ChildError

NODE = '/lemore_segmentation'
# the first start on a machine compiles, on a busy one slowly
START_S = 120.0
# best effort, as cameras are: a slow subscriber loses frames instead of holding them up
CAMERA = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)


def isolated_graph() -> dict[str, str]:
    """Return the variables that separate processes from every other ROS graph."""
    return {
        # domains above 101 share their ports with what Linux gives to any socket
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 50),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }


def start_node(
    parameters: Mapping[str, object],
    log: Path,
    environment: Mapping[str, str],
    *,
    image_topic: str = '/image',
) -> Child:
    """Start the segmentation node; the caller waits until it publishes."""
    arguments = ['--ros-args', '-r', f'image:={image_topic}']
    for name, value in parameters.items():
        arguments += ['-p', f'{name}:={value}']
    module = 'lemore_ros.node.segmentation_node'
    return Child(module, arguments=arguments, log=log, environment=environment)


def wait_until(
    condition: Callable[[], object],
    what: str,
    child: Child,
    *,
    timeout_s: float = START_S,
    spin: Callable[[float], object] = time.sleep,
) -> None:
    """Wait for a condition while the child runs; ``spin`` is called with the seconds to wait."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        child.check()
        if time.monotonic() > deadline:
            msg = f'{what}: not within {timeout_s:.0f} s, see {child.log}'
            raise ChildError(msg)
        spin(0.02)


class Peer:
    """Publish images, subscribe to ``outputs``, keep the ``values`` of the diagnostics."""

    def __init__(self, name: str, camera_topic: str, outputs: Iterable[str]) -> None:
        self.latencies_ms: list[float] = []
        self.values: dict[str, str] = {}
        self.topics = [f'{NODE}/{output}' for output in outputs]
        self.node = rclpy.create_node(name)
        self.camera = self.node.create_publisher(Image, camera_topic, CAMERA)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_values, 10)

    @property
    def is_connected(self) -> bool:
        """Whether the node subscribes to the camera and publishes every topic."""
        return bool(
            self.camera.get_subscription_count()
            and all(self.node.count_publishers(topic) for topic in self.topics)
        )

    def spin(self, seconds: float) -> None:
        """Receive messages for so many seconds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def close(self) -> None:
        """Destroy the ROS node."""
        self._executor.shutdown()
        self.node.destroy_node()

    def _on_values(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(NODE[1:]):
                self.values = {pair.key: pair.value for pair in status.values}
                return
