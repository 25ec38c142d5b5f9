"""Records what the node publishes into a bag, and how long each label image took.

Reports JSON lines: ``ready`` once every topic has its publisher, ``labels`` and ``node`` (the
node's own counts, from its diagnostics) as it goes, ``latencies_ms`` and ``rate_hz`` at the end. The latency of a
label image is its publication time, as the middleware stamped it, less its header's stamp.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Image
from std_msgs.msg import String

from lemore_ros.bags.segmentation.writer import VERSION
from lemore_ros.messages.common import read_stamp
from lemore_ros.node.qos import latched
from lemore_ros.outputs import OUTPUTS
from lemore_ros.tools.child import say

IMAGES = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
RECORDED = ('labels', 'confidence', 'color', 'overlay', 'classes')


class Recorder(Node):  # type: ignore[misc]
    """Subscribes serialised, writes bytes as they come."""

    def __init__(self, writer: Writer, prefix: str) -> None:
        super().__init__('lemore_recorder')
        self.latencies_ms: list[float] = []
        self.published: list[int] = []
        self._writer = writer
        self._ready = False
        store = get_typestore(Stores.ROS2_JAZZY)
        self._topics = []
        for name in RECORDED:
            output, topic = OUTPUTS[name], f'{prefix}/{name}'
            connection = writer.add_connection(topic, output.type, typestore=store)
            kind, profile = (String, latched()) if output.is_latched else (Image, IMAGES)
            self._subscribe(name, kind, topic, profile, connection)
            self._topics.append(topic)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self.create_timer(0.1, self._report)

    @property
    def rate_hz(self) -> float:
        """Label images a second, between the first and the last publication."""
        if len(self.published) < 2:
            return 0.0
        return (len(self.published) - 1) / ((max(self.published) - min(self.published)) / 1e9)

    def _subscribe(
        self, name: str, kind: type, topic: str, qos: QoSProfile, connection: Connection
    ) -> None:
        def on_message(data: bytes, info: dict[str, Any]) -> None:
            self._writer.write(connection, info['received_timestamp'], data)
            if name == 'labels':
                published = info['source_timestamp']
                self.published.append(published)
                self.latencies_ms.append((published - read_stamp(data)) / 1e6)

        self.create_subscription(kind, topic, on_message, qos, raw=True)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith('lemore_segmentation'):
                say(node={pair.key: pair.value for pair in status.values})

    def _report(self) -> None:
        if not self._ready and all(self.count_publishers(topic) for topic in self._topics):
            self._ready = True
            say(ready=True)
        say(labels=len(self.published))


def main() -> int:
    """Record until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('bag', type=Path)
    parser.add_argument('--prefix', required=True, help="the node's name, with its slash")
    arguments = parser.parse_args()
    rclpy.init(args=[])
    with Writer(arguments.bag, version=VERSION, storage_plugin=StoragePlugin.MCAP) as writer:
        recorder = Recorder(writer, arguments.prefix)
        with suppress(KeyboardInterrupt, ExternalShutdownException):
            rclpy.spin(recorder)
        say(
            labels=len(recorder.published),
            latencies_ms=recorder.latencies_ms,
            rate_hz=recorder.rate_hz,
        )
        recorder.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
