"""Publish a camera's images to a node and time its labels, in one process.

Images are serialised ahead and labels taken as bytes: Python's serialiser at this end is not
measured. Reports ``before`` and ``after`` (values of the node's diagnostics around the
measurement), ``sent`` and ``latencies_ms``. Exit status: 1 where the node is not there.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import cv2
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from lemore_core.common.child import report
from lemore_core.common.errors import LemoreError
from lemore_core.export import STREET
from lemore_core.images.files import read_image
from lemore_ros.messages.common import read_stamp, write_stamp
from lemore_ros.tools.processes import NODE, START_S, Peer

WARM_UP_FRAMES = 10
# the node's diagnostics are a second apart: one made after the last image has come by then
STATUS_S = 2.2
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


class ProbeError(LemoreError):
    """A node that cannot be measured."""


class Probe(Peer):
    """Publish images and time their labels, from the publish call to the arrival."""

    def __init__(self, others: list[str]) -> None:
        super().__init__('lemore_probe', '/image', ('labels', *others))
        for topic in self.topics:
            kind = CompressedImage if topic.endswith('/compressed') else Image
            on_message = self._on_labels if topic is self.topics[0] else lambda _: None
            self.node.create_subscription(kind, topic, on_message, RELIABLE, raw=True)

    def warm_up(self, data: bytearray) -> None:
        """Wait for the node and for its first labels."""
        deadline = time.monotonic() + START_S
        while not self.is_connected or len(self.latencies_ms) < WARM_UP_FRAMES:
            if time.monotonic() > deadline:
                msg = f'{NODE} sends no labels of /image within {START_S:.0f} s: is it active?'
                raise ProbeError(msg)
            self.publish(data, 1, 10.0)
        self.spin(STATUS_S)
        self.latencies_ms.clear()

    def publish(self, data: bytearray, count: int, rate_hz: float) -> None:
        """Publish a serialised image so many times, each stamped with its time."""
        started = time.monotonic()
        for index in range(count):
            write_stamp(data, time.time_ns())
            self.camera.publish(bytes(data))
            self.spin(started + (index + 1) / rate_hz - time.monotonic())

    def _on_labels(self, data: bytes) -> None:
        self.latencies_ms.append((time.time_ns() - read_stamp(data)) / 1e6)


def serialised_street(width: int, height: int, encoding: str = 'bgr8') -> bytearray:
    """Return a bgr8 ``sensor_msgs/Image`` of a street, serialised; ``encoding`` is its field."""
    pixels = cv2.resize(read_image(STREET), (width, height), interpolation=cv2.INTER_AREA)
    message: Any = Image(height=height, width=width, step=3 * width, encoding=encoding)
    message.header.frame_id = 'camera'
    message.data.frombytes(pixels[..., ::-1].tobytes())
    return bytearray(serialize_message(message))


def main() -> int:
    """Measure, report and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--others', nargs='*', default=[])
    for name in ('--width', '--height', '--count'):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument('--rate', type=float, required=True)
    options = parser.parse_args()
    rclpy.init(args=[])
    try:
        probe = Probe(options.others)
        data = serialised_street(options.width, options.height)
        probe.warm_up(data)
        report(before=probe.values)
        probe.publish(data, options.count, options.rate)
        probe.spin(STATUS_S)
    except ProbeError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
    report(after=probe.values, sent=options.count, latencies_ms=probe.latencies_ms)
    return 0


if __name__ == '__main__':
    sys.exit(main())
