"""A camera and a subscriber to its labels, in one process beside the node's.

Publishes the image of a street at a rate, and records how long after each publish call
its labels arrived. Images are serialised ahead and labels taken in as bytes, so that what is timed
is the middleware and the node and not Python's serialiser at this end.

Reports JSON lines: ``before`` and ``after`` (what the node's ``/diagnostics`` said of each camera
around the measurement), ``sent`` (images of each camera) and ``latencies_ms``. Exit status: 1
where the topics are not as they must be.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from typing import Any

import cv2
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from lemore_core.common.errors import LemoreError
from lemore_core.export.street import STREET
from lemore_core.images.files import read_image
from lemore_ros.messages.common import read_stamp, write_stamp
from lemore_ros.tools.child import say

MATCH_S = 60.0
# the first start on a machine compiles, on a busy one slowly
WARM_UP_S = 60.0
WARM_UP_FRAMES = 10
# the node's status is a second apart: one that was made after the last image has come by then
STATUS_S = 2.2
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


class ProbeError(LemoreError):
    """A graph in which nothing can be measured."""


class Probe:
    """Publishes on ``images`` and subscribes to ``labels``, ``others`` and ``status``.

    ``others`` are subscribed to only so that the node renders them. ``arrivals`` has when labels of
    each topic came (:func:`time.monotonic`), ``messages`` and ``figures`` what the statuses say.
    """

    def __init__(
        self, images: list[str], labels: list[str], others: list[str], status: str
    ) -> None:
        self.latencies_ms: list[float] = []
        # milliseconds since 1970
        self.sent_ms: list[float] = []
        self.arrived_ms: list[float] = []
        self.arrivals: dict[str, list[float]] = {topic: [] for topic in labels}
        self.messages: dict[str, str] = {}
        self.figures: dict[str, dict[str, str]] = {}
        self._subscribed = [*labels, *others]
        self._node = rclpy.create_node('lemore_probe')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._publishers = {t: self._node.create_publisher(Image, t, NEWEST) for t in images}
        for topic in labels:
            on_labels = partial(self._on_labels, topic)
            self._node.create_subscription(Image, topic, on_labels, RELIABLE, raw=True)
        for topic in others:
            kind = CompressedImage if topic.endswith('/compressed') else Image
            self._node.create_subscription(kind, topic, lambda _: None, RELIABLE, raw=True)
        self._node.create_subscription(DiagnosticArray, status, self._on_status, RELIABLE)

    def connect(self) -> None:
        """Wait for the other end of every topic.

        Raises:
            ProbeError: there is none, or another camera is on a topic.
        """
        deadline = time.monotonic() + MATCH_S
        while missing := self._missing():
            if time.monotonic() > deadline:
                msg = (
                    f'nobody is at the other end of {", ".join(missing)} after {MATCH_S:.0f} s: '
                    'is the node active, and are these its topics?'
                )
                raise ProbeError(msg)
            self.spin(0.1)
        for topic in self._publishers:
            if self._node.count_publishers(topic) > 1:
                msg = f'another camera publishes on {topic}: stop it for as long as this measures'
                raise ProbeError(msg)

    def warm_up(self, data: bytearray) -> None:
        """Publish until labels come, or for as long as they might take to."""
        deadline = time.monotonic() + WARM_UP_S
        while len(self.latencies_ms) < WARM_UP_FRAMES and time.monotonic() < deadline:
            self.publish(data, 1, 10.0)
        self.spin(STATUS_S)
        for times in (self.latencies_ms, self.sent_ms, self.arrived_ms):
            times.clear()

    def publish(self, data: bytearray, count: int, rate_hz: float) -> None:
        """Publish a serialised image so many times on every topic, each stamped with its time."""
        started = time.monotonic()
        for index in range(count):
            for topic in self._publishers:
                self.send(topic, data)
            self.spin(started + (index + 1) / rate_hz - time.monotonic())

    def send(self, topic: str, data: bytearray) -> None:
        """Publish a serialised image, stamped with its time."""
        stamp = time.time_ns()
        write_stamp(data, stamp)
        self.sent_ms.append(stamp / 1e6)
        self._publishers[topic].publish(bytes(data))

    def spin(self, seconds: float) -> None:
        """Receive what comes for so many seconds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def _missing(self) -> list[str]:
        unmatched = [t for t, p in self._publishers.items() if not p.get_subscription_count()]
        return unmatched + [t for t in self._subscribed if not self._node.count_publishers(t)]

    def _on_labels(self, topic: str, data: bytes) -> None:
        self.arrivals[topic].append(time.monotonic())
        now = time.time_ns()
        self.arrived_ms.append(now / 1e6)
        self.latencies_ms.append((now - read_stamp(data)) / 1e6)

    def _on_status(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            if 'received' in values:  # other nodes publish diagnostics as well
                self.messages[status.name], self.figures[status.name] = status.message, values


def serialised_street(width: int, height: int, encoding: str = 'bgr8') -> bytearray:
    """Return a bgr8 ``sensor_msgs/Image`` of this size, serialised; ``encoding`` is what it says."""
    image = read_image(STREET)
    pixels = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    message: Any = Image(height=height, width=width, step=3 * width, encoding=encoding)
    message.header.frame_id = 'camera'
    message.data.frombytes(pixels[..., ::-1].tobytes())
    return bytearray(serialize_message(message))


def main() -> int:
    """Measure, report and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ('--images', '--labels', '--others'):
        parser.add_argument(name, nargs='*', default=[])
    parser.add_argument('--status', required=True)
    for name in ('--width', '--height', '--count'):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument('--rate', type=float, required=True)
    arguments = parser.parse_args()
    rclpy.init(args=[])
    try:
        _measure(arguments)
    except ProbeError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
    return 0


def _measure(arguments: argparse.Namespace) -> None:
    probe = Probe(arguments.images, arguments.labels, arguments.others, arguments.status)
    data = serialised_street(arguments.width, arguments.height)
    probe.connect()
    probe.warm_up(data)
    say(before=probe.figures)
    probe.publish(data, arguments.count, arguments.rate)
    probe.spin(STATUS_S)
    say(
        after=probe.figures,
        sent=arguments.count,
        latencies_ms=probe.latencies_ms,
        sent_ms=probe.sent_ms,
        arrived_ms=probe.arrived_ms,
    )


if __name__ == '__main__':
    sys.exit(main())
