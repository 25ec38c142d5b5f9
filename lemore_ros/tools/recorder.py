"""Play a bag as a camera and record what the node makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Image
from std_msgs.msg import String

from lemore_ros.messages.common import read_stamp, write_stamp
from lemore_ros.node.qos import latched
from lemore_ros.outputs import OUTPUTS
from lemore_ros.tools.processes import NODE, node_values

# best effort, as cameras are: a slow subscriber loses frames instead of holding them up
CAMERA = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
IMAGES = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
RECORDED = ('labels', 'confidence', 'color', 'overlay', 'classes')


class Recorder:
    """A camera and a recorder in one ROS node.

    ``published_ns`` are when label images were published, as the middleware stamped them,
    ``latencies_ms`` the same less their header's stamps, and ``counts`` the values of the node's
    diagnostics.
    """

    def __init__(self, writer: Writer, camera_topic: str) -> None:
        self.sent = 0
        self.published_ns: list[int] = []
        self.latencies_ms: list[float] = []
        self.counts: dict[str, str] = {}
        self._writer = writer
        self._node = rclpy.create_node('lemore_recorder')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._camera = self._node.create_publisher(Image, camera_topic, CAMERA)
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        store = get_typestore(Stores.ROS2_JAZZY)
        for name in RECORDED:
            topic, output = f'{NODE}/{name}', OUTPUTS[name]
            connection = writer.add_connection(topic, output.type, typestore=store)
            self._subscribe(name, connection)

    @property
    def is_connected(self) -> bool:
        """Whether the node subscribes to the camera and publishes every topic."""
        topics = [f'{NODE}/{name}' for name in RECORDED]
        return bool(
            self._camera.get_subscription_count()
            and all(self._node.count_publishers(topic) for topic in topics)
        )

    def play(self, bag: Path) -> Iterator[None]:
        """Publish the images of a bag in real time with stamps of now; yield after each."""
        with Reader(bag) as reader:
            started = time.monotonic() - reader.start_time / 1e9
            for _, bag_time, raw in reader.messages():
                data = bytearray(raw)
                self.spin(started + bag_time / 1e9 - time.monotonic())
                write_stamp(data, time.time_ns())
                self._camera.publish(bytes(data))
                self.sent += 1
                yield

    def spin(self, seconds: float) -> None:
        """Record for so many seconds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def close(self) -> None:
        """Destroy the ROS node."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _subscribe(self, name: str, connection: Connection) -> None:
        def on_message(data: bytes, info: dict[str, Any]) -> None:
            self._writer.write(connection, info['received_timestamp'], data)
            if name == 'labels':
                published = info['source_timestamp']
                self.published_ns.append(published)
                self.latencies_ms.append((published - read_stamp(data)) / 1e6)

        kind, qos = (String, latched()) if OUTPUTS[name].is_latched else (Image, IMAGES)
        self._node.create_subscription(kind, connection.topic, on_message, qos, raw=True)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.counts = node_values(message) or self.counts
