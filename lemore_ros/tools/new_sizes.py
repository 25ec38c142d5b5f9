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

import numpy as np
import rclpy

from lemore_core.common.errors import LemoreError
from lemore_ros.share import image_profile
from lemore_ros.tools.child import Child, ChildError, isolated_graph
from lemore_ros.tools.measuring import NODE
from lemore_ros.tools.probe import Probe, serialised_street

CAMERAS = 'front', 'rear'
USUAL, ODD = (640, 480), (1000, 100)
SIZES = (960, 540), (480, 360)
PERIOD_S, SETTLE_S, TIMEOUT_S = 0.1, 3.0, 180.0


class Cameras:
    """Two cameras and the subscriber to their labels."""

    def __init__(self) -> None:
        images = [f'/{name}/image' for name in CAMERAS]
        labels = [f'{NODE}/{name}/labels' for name in CAMERAS]
        self._probe = Probe(images, labels, [], '/diagnostics')
        self._images = {size: serialised_street(*size) for size in (USUAL, ODD, *SIZES)}

    def film(self, **sizes: tuple[int, int]) -> None:
        """Send an image of each camera that is given, and receive for a period."""
        for name, size in sizes.items():
            self._probe.send(f'/{name}/image', self._images[size])
        self._probe.spin(PERIOD_S)

    def arrivals(self, name: str) -> list[float]:
        """Return when labels of a camera came."""
        return self._probe.arrivals[f'{NODE}/{name}/labels']

    def prepares(self, name: str) -> bool:
        """Say whether the status of a camera says that a size is prepared."""
        said = self._probe.messages.items()
        return any(title.endswith(name) and 'prepar' in text for title, text in said)

    def gap_s(self, name: str, since: float) -> float:
        """Return the longest time without labels of a camera, until now."""
        times = [since, *(t for t in self.arrivals(name) if t > since), time.monotonic()]
        return float(np.diff(times).max())


def measure(model: str, folder: Path) -> dict[str, float]:
    """Return seconds by what they are of.

    Raises:
        LemoreError: the node failed or labelled nothing.
    """
    environment = {**isolated_graph(), **image_profile(os.environ)}
    environment |= {'XDG_CACHE_HOME': str(folder / 'cache')}
    os.environ.update(environment)
    pairs = (f'model:={model}', f'camera_names:={list(CAMERAS)}')
    arguments = ['--ros-args', *(word for pair in pairs for word in ('-p', pair))]
    rclpy.init(args=[])
    cameras = Cameras()
    started = time.monotonic()
    module = 'lemore_ros.node.segmentation_node'
    with Child('node', module, arguments, folder / 'node.log', environment) as node:
        while not cameras.arrivals('front'):
            cameras.film(front=USUAL)
            _check(node, started)
        first = cameras.arrivals('front')[0]
        found = {'from start to first label': first - started}
        found['processor time until then, with the export'] = _processor_s(node.pid)
        # the first is what the machine does anyway
        for size in (USUAL, *SIZES):
            changed = time.monotonic()
            cameras.film(front=USUAL, rear=USUAL if size == USUAL else ODD)
            settled = changed + SETTLE_S
            while time.monotonic() < settled:
                cameras.film(front=USUAL, rear=size)
                if cameras.prepares('rear'):
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
