"""Start a node as another process in a ROS graph of its own, with a camera and subscribers.

As a program, publish a camera's images to a node and time its labels, as :func:`measure` is ordered.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from lemore_core.common.child import Child, ChildError, serve_parent
from lemore_core.export import STREET
from lemore_core.images.files import read_image
from lemore_ros.messages.common import read_stamp, write_stamp
from lemore_ros.node.lifecycle import StopSignals

NODE = '/lemore_segmentation'
# the first start on a machine exports and compiles, on a busy one slowly
START_S = 300.0
# best effort, as cameras are: a slow subscriber loses frames instead of holding them up
CAMERA = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
WARM_UP_FRAMES = 10
# the node's diagnostics are a second apart: one made after the last image has come by then
STATUS_S = 2.2


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
    image: str = '/image',
) -> Child:
    """Start the segmentation node; the caller waits until it publishes."""
    arguments = ['--ros-args', '-r', f'image:={image}']
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

    is_loading = False  # see StopSignals

    def __init__(self, name: str, camera_topic: str, outputs: Iterable[str]) -> None:
        self.latencies_ms: list[float] = []
        self.values: dict[str, str] = {}
        self.topics = [f'{NODE}/{output}' for output in outputs]
        self.node = rclpy.create_node(name)
        self.camera = self.node.create_publisher(Image, camera_topic, CAMERA)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._exits = ExitStack()
        self._stop = self._exits.enter_context(StopSignals())
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_values, 10)

    @property
    def is_ready(self) -> bool:
        """Whether the node takes images, publishes every topic, and has compiled its decoder."""
        return bool(
            self.values.get('preparing') == ''
            and self.camera.get_subscription_count()
            and all(self.node.count_publishers(topic) for topic in self.topics)
        )

    def spin(self, seconds: float) -> None:
        """Receive messages for so many seconds."""
        deadline = time.monotonic() + seconds
        # KeyboardInterrupt while a message is converted would come out as a RuntimeError
        self._stop.spinning = self
        while not self._stop.requested and (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)
        self._stop.spinning = None
        if self._stop.requested:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Destroy the ROS node, and take no more signals."""
        self._exits.close()
        self._executor.shutdown()
        self.node.destroy_node()

    def _on_values(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(NODE[1:]):
                self.values = {pair.key: pair.value for pair in status.values}
                return


class Probe(Peer):
    """Time labels from the publish call to the arrival, without Python's serialiser."""

    def __init__(self, others: Iterable[str] = ()) -> None:
        super().__init__('lemore_probe', '/image', ('labels', *others))
        for topic in self.topics:
            kind = CompressedImage if topic.endswith('/compressed') else Image
            on_message = self._on_labels if topic is self.topics[0] else lambda _: None
            self.node.create_subscription(kind, topic, on_message, RELIABLE, raw=True)

    def warm_up(self, data: bytearray) -> None:
        """Wait for the node and for its first labels."""
        deadline = time.monotonic() + START_S
        while not self.is_ready or len(self.latencies_ms) < WARM_UP_FRAMES:
            if time.monotonic() > deadline:
                msg = f'{NODE} sends no labels of /image within {START_S:.0f} s: is it active?'
                raise ChildError(msg)
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


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Publish the images of a ``Load``, and return the fields of a ``Reading``."""
    rclpy.init(args=[])
    try:
        height, width = order['size']
        probe, data = Probe(order['others']), serialised_street(width, height)
        probe.warm_up(data)
        before = probe.values
        probe.publish(data, order['images'], order['rate_hz'])
        probe.spin(STATUS_S)
    finally:
        rclpy.try_shutdown()
    return {
        'sent': order['images'],
        'latencies_ms': probe.latencies_ms,
        'before': before,
        'after': probe.values,
    }


if __name__ == '__main__':
    sys.exit(serve_parent(measure))
