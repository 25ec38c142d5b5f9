"""Play a bag as a camera and record what the node makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Image
from std_msgs.msg import String

from lemore_ros.messages.common import read_stamp, write_stamp
from lemore_ros.node.qos import latched
from lemore_ros.outputs import OUTPUTS
from lemore_ros.tools.processes import Peer

IMAGES = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
RECORDED = ('labels', 'confidence', 'color', 'overlay', 'classes')


class Recorder(Peer):
    """Publish a bag and record the outputs; times are the middleware's stamps."""

    def __init__(self, writer: Writer, camera_topic: str) -> None:
        super().__init__('lemore_recorder', camera_topic, RECORDED)
        self.sent = 0
        self.published_ns: list[int] = []
        self._writer = writer
        store = get_typestore(Stores.ROS2_JAZZY)
        for name, topic in zip(RECORDED, self.topics, strict=True):
            connection = writer.add_connection(topic, OUTPUTS[name].type, typestore=store)
            self._subscribe(name, connection)

    def play(self, bag: Path) -> Iterator[None]:
        """Publish the images of a bag in real time with stamps of now; yield after each."""
        with Reader(bag) as reader:
            started = time.monotonic() - reader.start_time / 1e9
            for _, bag_time, raw in reader.messages():
                data = bytearray(raw)
                self.spin(started + bag_time / 1e9 - time.monotonic())
                write_stamp(data, time.time_ns())
                self.camera.publish(bytes(data))
                self.sent += 1
                yield

    def _subscribe(self, name: str, connection: Connection) -> None:
        def on_message(data: bytes, info: dict[str, Any]) -> None:
            self._writer.write(connection, info['received_timestamp'], data)
            if name == 'labels':
                published = info['source_timestamp']
                self.published_ns.append(published)
                self.latencies_ms.append((published - read_stamp(data)) / 1e6)

        kind, qos = (String, latched()) if OUTPUTS[name].is_latched else (Image, IMAGES)
        self.node.create_subscription(kind, connection.topic, on_message, qos, raw=True)
