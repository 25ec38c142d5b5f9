"""A node under the load of a probe, both processes of their own: round trips, transport, memory."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from rclpy.utilities import get_rmw_implementation_identifier

from lemore_ros.share import image_profile, no_profile
from lemore_ros.tools.child import Child, isolated_graph, wait_until

NODE = '/lemore_segmentation'
TIMEOUT_S = 180.0
TRANSPORT_SIZE, TRANSPORT_RATE_HZ = (1920, 1080), 30.0

Figures = dict[str, Any]


@dataclass(frozen=True)
class Load:
    """``count`` images of ``size`` (width, height) at a rate, of each of ``cameras``.

    One camera of an empty name is the only one of a node. ``others`` are outputs that are
    subscribed to besides the labels.
    """

    size: tuple[int, int]
    rate_hz: float
    count: int
    cameras: tuple[str, ...] = ('',)
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What the probe saw: milliseconds from publish call to label, and the node's own figures.

    ``sent_ms`` and ``arrived_ms`` are when images were sent and labels came, since 1970. ``before`` and
    ``after`` are the values of ``/diagnostics`` by the name of each status.
    """

    sent: int
    latencies_ms: list[float]
    before: Mapping[str, Mapping[str, str]]
    after: Mapping[str, Mapping[str, str]]
    sent_ms: list[float] = field(default_factory=list)
    arrived_ms: list[float] = field(default_factory=list)

    def figure(self, key: str) -> float:
        """Return a figure of the node's, that of the first camera; NaN where there is none."""
        for values in self.after.values():
            return float(values.get(key, 'nan'))
        return float('nan')

    def increase(self, key: str) -> int:
        """Return by how much one of the node's counts grew, the cameras taken together."""
        earlier = sum(int(values[key]) for values in self.before.values())
        return sum(int(values[key]) for values in self.after.values()) - earlier

    @property
    def cpu_ms(self) -> float:
        """Milliseconds that the node's process used the processor for an image; NaN if unknown."""
        before, after = (
            float(next(iter(values.values()), {}).get('cpu_s', 'nan'))
            for values in (self.before, self.after)
        )
        return 1e3 * (after - before) / max(1, self.increase('received'))


@dataclass(frozen=True)
class MeasuredNode:
    """The node that is measured: one started for it with ``parameters``, or a running one.

    ``attach`` is the running one's full name; ``image_topic`` is what it has its images from.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    attach: str = ''
    image_topic: str = '/image'

    @property
    def name(self) -> str:
        """The node's full name."""
        return self.attach or NODE

    def measure(self, load: Load, *, profile: bool = True) -> Reading:
        """Put the node under a load.

        ``profile`` lets the middleware use the user's profile, else the shipped one, and otherwise none.

        Raises:
            ChildError: a process failed or did not end in time, with what its log says.
        """
        environment = self._environment(profile=profile)
        with _log_folder() as logs, ExitStack() as stack:
            running = []
            if not self.attach:
                module, arguments = 'lemore_ros.node.segmentation_node', self._node_arguments(load)
                node = Child('node', module, arguments, logs / 'node.log', environment)
                running.append(stack.enter_context(node))
            module, arguments = 'lemore_ros.tools.probe', self._probe_arguments(load)
            probe = Child('probe', module, arguments, logs / 'probe.log', environment)
            running.append(stack.enter_context(probe))
            timeout_s = TIMEOUT_S + load.count / load.rate_hz
            wait_until(lambda: probe.ended, timeout_s, 'the end of the probe', running)
            probe.check()
        # leaving the block took in what it said last
        return Reading(**probe.poll())

    def _environment(self, *, profile: bool) -> dict[str, str]:
        transport = image_profile(os.environ) if profile else {}
        if not profile:
            transport = no_profile(os.environ)
        return transport if self.attach else {**isolated_graph(), **transport}

    def _node_arguments(self, load: Load) -> list[str]:
        values = {**self.parameters, 'camera_names': str(list(load.cameras))}
        pairs = [f'{name}:={value}' for name, value in values.items()]
        return ['--ros-args', *(word for pair in pairs for word in ('-p', pair))]

    def _probe_arguments(self, load: Load) -> list[str]:
        width, height = load.size
        prefixes = [f'{camera}/' if camera else '' for camera in load.cameras]
        images = [f'/{prefix}image' if prefix else self.image_topic for prefix in prefixes]
        return [
            *('--images', *images),
            *('--labels', *(f'{self.name}/{prefix}labels' for prefix in prefixes)),
            *('--others', *(f'{self.name}/{p}{other}' for p in prefixes for other in load.others)),
            *('--status', '/diagnostics'),
            *('--width', str(width), '--height', str(height)),
            *('--rate', str(load.rate_hz), '--count', str(load.count)),
        ]


def measure_round_trip(target: MeasuredNode, load: Load) -> Figures:
    """Time images of one size, first with labels only and then with the overlay."""
    plain = target.measure(load)
    shown = dataclasses.replace(load, others=('overlay',))
    return round_trip(load, plain, target.measure(shown))


def round_trip(load: Load, plain: Reading, overlaid: Reading) -> Figures:
    """Return the milliseconds from the publish call to the labels, and what the node says of them."""
    latencies = plain.latencies_ms or [math.nan]
    median, p95 = (float(value) for value in np.percentile(latencies, [50, 95]))
    segmenter = plain.figure('segmenter_p50_ms')
    return {
        'size': f'{load.size[0]}x{load.size[1]}',
        'sent': plain.sent,
        'arrived': len(plain.latencies_ms),
        'total_p50_ms': round(median, 2),
        'total_p95_ms': round(p95, 2),
        'segmenter_p50_ms': segmenter,
        'rest_p50_ms': round(median - segmenter, 2),
        'work_p50_ms': plain.figure('work_p50_ms'),
        'cpu_ms': round(plain.cpu_ms, 2),
        'work_with_overlay_p50_ms': overlaid.figure('work_p50_ms'),
    }


def measure_transport(target: MeasuredNode, images: int, *, profile: bool) -> Figures:
    """Count how many full-HD images at 30 Hz reach the node, with the middleware's profile or without."""
    load = Load(TRANSPORT_SIZE, TRANSPORT_RATE_HZ, images)
    reading = target.measure(load, profile=profile)
    received = reading.increase('received')
    share = round(100 * received / reading.sent, 1)
    return {
        'middleware': get_rmw_implementation_identifier(),
        'profile': profile,
        'sent': reading.sent,
        'received': received,
        'received_percent': share,
    }


def measure_memory(target: MeasuredNode, load: Load, cameras: int) -> Figures:
    """Read the resident megabytes (10^6 bytes) of a node that has labelled images of so many cameras."""
    names = tuple(f'camera{i}' for i in range(cameras)) if cameras > 1 else ('',)
    reading = target.measure(dataclasses.replace(load, cameras=names))
    return {'cameras': cameras, 'memory_mb': reading.figure('memory_mb')}


@contextmanager
def _log_folder() -> Iterator[Path]:
    """Yield a folder that stays where the block raises: errors name the logs in it."""
    folder = Path(mkdtemp(prefix='lemore_latency_'))
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
