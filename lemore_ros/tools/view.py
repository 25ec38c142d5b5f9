"""Show the topics of a running node in the viewer of Rerun, or write them to a file for it.

Logs the camera's image, labels, confidence, points and latency at their stamps, until Ctrl-C.
Exit status: 2 where Rerun is not installed or cannot open its viewer or file, where a name is no topic's or
nothing came, else 0.
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
from rclpy.exceptions import NameValidationException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import String

from lemore_core.cli.arguments import positive
from lemore_core.common.errors import LemoreError, in_one_line
from lemore_core.common.limits import MAX_PIXELS, parse_json
from lemore_core.images.view import View, ViewerError
from lemore_core.taxonomy import Taxonomy
from lemore_ros.messages.common import stamp_ns, transport_class
from lemore_ros.messages.images import make_reader, message_header, read_image
from lemore_ros.messages.point_cloud import POINT
from lemore_ros.node import qos
from lemore_ros.node.lifecycle import StopSignals
from lemore_ros.outputs import TRANSPORTS
from lemore_ros.tools.probe import NODE

# figures of the diagnostics, and their factors
FIGURES = {'age_p50_ms': 1, 'segmenter_p50_ms': 1, 'familiarity': 100, 'sureness': 100}


class Viewer(Node):  # type: ignore[misc]  # rclpy is untyped here
    """Logs the topics of one camera of the node ``source``."""

    is_loading = False  # whatever comes, it ends at the first signal

    def __init__(self, view: View, source: str, camera: str, image: str, transport: str) -> None:
        super().__init__('lemore_view')
        self._view, self.heard = view, False
        self._status = f'{source.lstrip("/")}: segmentation {camera}'.rstrip()
        form = TRANSPORTS[transport]
        read = make_reader(form.type).read
        own = f'{source}/{camera}/' if camera else f'{source}/'
        images = qos.every() if form.is_video else qos.newest()
        topic = f'{image}{form.suffix}'
        self._log(transport_class(form), topic, lambda m: view.image(read(m, MAX_PIXELS)), images)
        self._log(Image, f'{own}labels', lambda m: view.labels(read_image(m).pixels))
        self._log(Image, f'{own}confidence', lambda m: view.confidence(read_image(m).pixels))
        self._log(PointCloud2, f'{own}points', self._on_points)
        self._log(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._log(String, f'{own}classes', self._on_classes, qos.latched())

    def _log(self, kind: Any, topic: str, log: Callable[[Any], None], profile: Any = None) -> None:
        def on_message(message: Any) -> None:
            self.heard |= kind is not DiagnosticArray  # of which others have some too
            try:
                if kind is not String:
                    self._view.at(stamp_ns=stamp_ns(message_header(message)))
                log(message)
            except (LemoreError, ValueError) as error:  # anybody may send it
                self.get_logger().warning(in_one_line(error), throttle_duration_sec=5.0)

        self.create_subscription(kind, topic, on_message, profile or qos.newest())

    def _on_points(self, message: PointCloud2) -> None:
        points = np.frombuffer(message.data, POINT)
        points = points[np.isfinite(points['z'])]
        xyz = np.stack([points[axis] for axis in 'xyz'], axis=-1)
        self._view.points(xyz, points['label'].astype(np.uint16))

    def _on_classes(self, message: String) -> None:
        rows = parse_json(message.data)
        self._view.describe(Taxonomy.from_dict({'name': 'live', 'classes': rows}, '~/classes'))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        own = [status for status in message.status if status.name.lstrip('/') == self._status]
        values = {pair.key: pair.value for status in own for pair in status.values}
        for name, factor in FIGURES.items():
            with suppress(KeyError, ValueError):  # ages are words where the clocks differ
                self._view.figure(f'figures/{name}', factor * float(values[name]))


def main(args: Sequence[str] | None = None) -> int:
    """Show or write until interrupted; return the exit status."""
    parser = argparse.ArgumentParser('lemore_view', description=__doc__)
    parser.add_argument('--save', type=Path, metavar='FILE.rrd', help='write a file instead')
    parser.add_argument('--node', default=NODE, help=f"the node's full name: {NODE}")
    parser.add_argument('--camera', default='', help='its name, where the node has several')
    parser.add_argument('--image', default='/image', help="the camera's topic: /image")
    parser.add_argument('--transport', default='raw', choices=TRANSPORTS, help='its form: raw')
    parser.add_argument('--seconds', type=positive, default=float('inf'), help='for so long')
    given = parser.parse_args(args)
    try:
        # outermost: a second signal may come while the first one is obeyed
        with suppress(KeyboardInterrupt), StopSignals() as stop, View(given.save) as view:
            rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
            viewer = Viewer(view, given.node, given.camera, given.image, given.transport)
            # KeyboardInterrupt while a message is converted would come out as a RuntimeError
            stop.spinning = viewer
            end = time.monotonic() + given.seconds
            while not stop.requested and time.monotonic() < end:
                rclpy.spin_once(viewer, timeout_sec=0.2)
            viewer.destroy_node()
            if not viewer.heard:
                msg = f'nothing came from {given.node} or on {given.image}: is it active, and called so?'
                raise ViewerError(msg)
    except (LemoreError, NameValidationException, rclpy_implementation.RCLError) as error:
        print(f'lemore_view: {in_one_line(error)}', file=sys.stderr)
        return 2
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
