"""What a running node segments, in the viewer of Rerun, or in a file for it.

The camera's image, the node's labels with their names and colours, confidence, points and latency,
each at its stamp. Ends with Ctrl-C, or after so many seconds.

Exit status: 0; 2 where Rerun is not there or cannot open what it was asked to.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import String

from lemore_core.cli.arguments import positive
from lemore_core.common.errors import LemoreError, in_one_line
from lemore_core.common.limits import parse_json
from lemore_core.images.view import View
from lemore_core.taxonomy import Taxonomy
from lemore_ros.messages.images import read_image
from lemore_ros.messages.point_cloud import POINT
from lemore_ros.messages.readers import make_reader
from lemore_ros.messages.stamps import stamp_ns
from lemore_ros.messages.types import transport_class
from lemore_ros.messages.video import message_header
from lemore_ros.node import qos
from lemore_ros.tools.measuring import NODE
from lemore_ros.transports import TRANSPORTS

BEST_EFFORT = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)


class Viewer(Node):  # type: ignore[misc]  # rclpy is untyped here
    """Logs the topics of one camera of a node called ``source``; ``prefix`` is the camera's name."""

    def __init__(self, view: View, source: str, prefix: str, image: str, transport: str) -> None:
        super().__init__('lemore_view')
        self._view = view
        form = TRANSPORTS[transport]
        reader = make_reader(form.type)
        own = f'{source}/{prefix}/' if prefix else f'{source}/'
        log_image = self._logging(lambda m: view.image(reader.read(m, 10**9)))
        profile = qos.every() if form.is_video else BEST_EFFORT
        self.create_subscription(transport_class(form), f'{image}{form.suffix}', log_image, profile)
        for kind, topic, log in (
            (Image, 'labels', lambda m: view.labels(read_image(m).pixels)),
            (Image, 'confidence', lambda m: view.confidence(read_image(m).pixels)),
            (PointCloud2, 'points', self._on_points),
        ):
            self.create_subscription(kind, f'{own}{topic}', self._logging(log), BEST_EFFORT)
        self.create_subscription(String, f'{own}classes', self._on_classes, qos.latched())
        self.create_subscription(DiagnosticArray, f'{source}/status', self._on_status, 10)

    def _logging(self, log: Callable[[Any], None]) -> Callable[[Any], None]:
        def on_message(message: Any) -> None:
            self._view.at(stamp_ns=stamp_ns(message_header(message)))
            try:
                log(message)
            except LemoreError as error:
                self.get_logger().warning(in_one_line(error), throttle_duration_sec=5.0)

        return on_message

    def _on_points(self, message: PointCloud2) -> None:
        points = np.frombuffer(message.data, POINT)
        points = points[np.isfinite(points['z'])]
        xyz = np.stack([points[axis] for axis in 'xyz'], axis=-1)
        self._view.points(xyz, points['label'].astype(np.uint16))

    def _on_classes(self, message: String) -> None:
        rows = parse_json(message.data)
        self._view.describe(Taxonomy.from_dict({'name': 'live', 'classes': rows}, '~/classes'))

    def _on_status(self, message: DiagnosticArray) -> None:
        values = {pair.key: pair.value for status in message.status for pair in status.values}
        self._view.at(stamp_ns=stamp_ns(message.header))
        for name in ('age_p50_ms', 'segmenter_p50_ms'):
            with suppress(KeyError, ValueError):  # ages are words where the clocks differ
                self._view.figure(f'figures/{name}', float(values[name]))


def main(args: Sequence[str] | None = None) -> int:
    """Show or write until interrupted; return the exit status."""
    arguments = _parser().parse_args(args)
    try:
        with View(arguments.save) as view:
            rclpy.init(args=[])
            viewer = Viewer(
                view, arguments.node, arguments.camera, arguments.image, arguments.transport
            )
            _spin(viewer, arguments.seconds)
            viewer.destroy_node()
    except LemoreError as error:
        print(f'lemore_view: {in_one_line(error)}', file=sys.stderr)
        return 2
    finally:
        rclpy.try_shutdown()
    return 0


def _spin(viewer: Viewer, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    try:
        while rclpy.ok() and time.monotonic() < deadline:
            rclpy.spin_once(viewer, timeout_sec=min(0.2, max(0.0, deadline - time.monotonic())))
    except (KeyboardInterrupt, ExternalShutdownException):
        pass


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser('lemore_view', description=__doc__)
    parser.add_argument('--save', type=Path, metavar='FILE.rrd', help='write a file instead')
    parser.add_argument('--node', default=NODE, help=f"the node's full name: {NODE}")
    parser.add_argument('--camera', default='', help='its name, where the node has several')
    parser.add_argument('--image', default='/image', help="the camera's topic: /image")
    parser.add_argument('--transport', default='raw', choices=TRANSPORTS, help='its form: raw')
    parser.add_argument('--seconds', type=positive, default=float('inf'), help='for so long')
    return parser


if __name__ == '__main__':
    sys.exit(main())
