"""How long a node's cameras are without labels at a first start, and when an image size changes.

A node of its own starts with empty caches. Camera ``front`` sends 640x480 from the beginning; once
it is labelled, camera ``rear`` sends 640x480 too, then 960x540 and 480x360, each after one odd
1000x100. Prints seconds, as Markdown: from the start of the process to the first label (on a busy
machine the processor time says more), and the longest time between two labels of each camera until
the size is loaded.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

from lemore_core.errors import LemoreError
from lemore_ros.share import shared_memory_profile
from lemore_ros.tools.child import Child, ChildError, isolated_graph
from lemore_ros.tools.measuring import NODE
from lemore_ros.tools.probe import NEWEST, RELIABLE

CAMERAS = 'front', 'rear'
USUAL, ODD = (640, 480), (1000, 100)
SIZES = (960, 540), (480, 360)
PERIOD_S, SETTLE_S, TIMEOUT_S = 0.1, 3.0, 180.0


class Cameras:
    """Two cameras and subscribers to their labels."""

    def __init__(self) -> None:
        self.arrivals: dict[str, list[float]] = {name: [] for name in CAMERAS}
        self.said: dict[str, str] = {}
        self._node = rclpy.create_node('lemore_cameras')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._publishers = {
            name: self._node.create_publisher(Image, f'/{name}/image', NEWEST) for name in CAMERAS
        }
        for name in CAMERAS:
            self._node.create_subscription(
                Image, f'{NODE}/{name}/labels', self._on_labels(name), RELIABLE, raw=True
            )
        self._node.create_subscription(DiagnosticArray, f'{NODE}/status', self._on_status, RELIABLE)

    def film(self, **sizes: tuple[int, int]) -> None:
        """Send an image of each camera that is given, and receive for a period."""
        end = time.monotonic() + PERIOD_S
        for name, (width, height) in sizes.items():
            message: Any = Image(height=height, width=width, step=3 * width, encoding='bgr8')
            message.header.stamp = self._node.get_clock().now().to_msg()
            message.data.frombytes(np.random.default_rng(0).bytes(3 * width * height))
            self._publishers[name].publish(message)
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def gap_s(self, name: str, since: float) -> float:
        """Return the longest time without labels of a camera, until now."""
        times = [since, *(t for t in self.arrivals[name] if t > since), time.monotonic()]
        return float(np.diff(times).max())

    def _on_labels(self, name: str) -> Any:
        return lambda _: self.arrivals[name].append(time.monotonic())

    def _on_status(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.said[status.name.rpartition(' ')[2]] = status.message


def measure(model: str, folder: Path) -> dict[str, float]:
    """Return seconds by what they are of.

    Raises:
        LemoreError: the node failed or labelled nothing.

    """
    environment = {**isolated_graph(), **shared_memory_profile(os.environ)}
    environment |= {'XDG_CACHE_HOME': str(folder / 'cache')}
    os.environ.update(environment)
    pairs = (f'model:={model}', f'camera_names:={list(CAMERAS)}')
    arguments = ['--ros-args', *(word for pair in pairs for word in ('-p', pair))]
    rclpy.init(args=[])
    cameras = Cameras()
    started = time.monotonic()
    module = 'lemore_ros.node.segmentation_node'
    with Child('node', module, arguments, folder / 'node.log', environment) as node:
        while not cameras.arrivals['front']:
            cameras.film(front=USUAL)
            _check(node, started)
        first = cameras.arrivals['front'][0]
        found = {'from start to first label': first - started}
        found['processor time until then, with the export'] = _processor_s(node.pid)
        # the first is what the machine does anyway
        for size in (USUAL, *SIZES):
            changed = time.monotonic()
            cameras.film(front=USUAL, rear=USUAL if size == USUAL else ODD)
            settled = changed + SETTLE_S
            while time.monotonic() < settled:
                cameras.film(front=USUAL, rear=size)
                if 'prepar' in cameras.said.get('rear', ''):
                    settled = time.monotonic() + SETTLE_S
                _check(node, changed)
            what = 'longest without labels, rear sends {}x{}'.format(*size)
            found |= {f'{what}: {name}': cameras.gap_s(name, changed) for name in CAMERAS}
    rclpy.try_shutdown()
    return found


def _processor_s(pid: int) -> float:
    """Return the seconds that a process and its ended children have computed."""
    ticks = Path(f'/proc/{pid}/stat').read_text(encoding='ascii').rpartition(')')[2].split()[11:15]
    return sum(map(int, ticks)) / os.sysconf('SC_CLK_TCK')


def _check(node: Child, since: float) -> None:
    node.check()
    if time.monotonic() > since + TIMEOUT_S:
        msg = f'nothing came of it for {TIMEOUT_S:.0f} s, see {node.log}'
        raise ChildError(msg)


def main() -> int:
    """Measure, print and return the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser('new_sizes', description=__doc__, formatter_class=form)
    parser.add_argument('--model', default='tiny', help='tiny, or as the parameter of the node')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='lemore-sizes-') as folder:
        try:
            found = measure(arguments.model, Path(folder))
        except LemoreError as error:
            print(f'new_sizes: {error}', file=sys.stderr)
            return 2
    print('| | seconds |', '|---|---|', sep='\n')
    for what, seconds in found.items():
        print(f'| {what} | {seconds:.2f} |')
    return 0


if __name__ == '__main__':
    sys.exit(main())
