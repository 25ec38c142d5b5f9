"""Measure how long an image takes to become labels in another process, and where the time goes.

A node and a probe, which is camera and subscriber, are started; their images travel over the
middleware of RMW_IMPLEMENTATION, with its profile for images unless you have set your own. Times are
medians in milliseconds: ``total`` from the publish call to the arrival of the labels, ``segmenter``
of the Segmenter, ``rest`` the difference, ``work`` of the node besides the Segmenter, and
``work+overlay`` the same while the overlay is subscribed; ``cpu`` is processor time of the node's
process for an image.

Exit status: 0; 2 where nothing could be measured.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np
from rclpy.utilities import get_rmw_implementation_identifier

from lemore_core.cli.arguments import image_size, listed, positive
from lemore_core.common.child import Child
from lemore_core.common.errors import LemoreError
from lemore_ros.share import image_profile, no_profile
from lemore_ros.tools.probe import START_S, isolated_graph, start_node, wait_until

SIZES, DEFAULT_SIZES = listed(image_size), '640x480,1920x1080'
SECONDS = 10.0
NODE: Mapping[str, object] = {'model': 'tiny', 'backend': 'auto'}

Figures = dict[str, Any]


class Load(NamedTuple):
    """So many images of ``size`` (height, width); ``others`` are outputs to render."""

    size: tuple[int, int]
    rate_hz: float
    images: int
    others: tuple[str, ...] = ()


FULL_HD = Load((1080, 1920), rate_hz=30.0, images=1800)


class Reading(NamedTuple):
    """Milliseconds from publish call to labels, and the node's diagnostics before and after."""

    sent: int
    latencies_ms: list[float]
    before: Mapping[str, str]
    after: Mapping[str, str]

    def increase(self, key: str) -> float:
        """Return the growth of a value."""
        return float(self.after[key]) - float(self.before[key])


def main(args: Sequence[str] | None = None) -> int:
    """Measure, print and return the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser('measure_latency', description=__doc__, formatter_class=form)
    parser.add_argument(
        '--sizes', type=SIZES, default=SIZES(DEFAULT_SIZES), help=f'images: {DEFAULT_SIZES}'
    )
    parser.add_argument('--rate', type=positive, default=10.0, help='images a second: 10')
    parser.add_argument(
        '--transport',
        action='store_true',
        help='count instead how many 1920x1080 images at 30 Hz reach the node in a minute, with a '
        "profile and with the middleware's defaults",
    )
    options = parser.parse_args(args)
    try:
        if options.transport:
            figures = [measure_transport(NODE, FULL_HD, profile=used) for used in (True, False)]
        else:
            count = round(options.rate * SECONDS) or 1
            figures = []
            for size in options.sizes:
                load = Load(size, options.rate, count)
                overlaid = load._replace(others=('overlay',))
                figures.append(round_trip(load, measure(NODE, load), measure(NODE, overlaid)))
    except LemoreError as error:
        print(f'measure_latency: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print_table(figures)
    return 0


def round_trip(load: Load, plain: Reading, overlaid: Reading) -> Figures:
    """Return the figures of two readings, with labels only and with the overlay."""
    median, p95 = (float(v) for v in np.percentile(plain.latencies_ms or [np.nan], [50, 95]))
    segmenter = float(plain.after['segmenter_p50_ms'])
    return {
        'size': f'{load.size[1]}x{load.size[0]}',
        'sent': plain.sent,
        'arrived': len(plain.latencies_ms),
        'total_p50_ms': round(median, 2),
        'total_p95_ms': round(p95, 2),
        'segmenter_p50_ms': segmenter,
        'rest_p50_ms': round(median - segmenter, 2),
        'work_p50_ms': float(plain.after['work_p50_ms']),
        'cpu_ms': round(1e3 * plain.increase('cpu_s') / max(1, plain.increase('received')), 2),
        'work_with_overlay_p50_ms': float(overlaid.after['work_p50_ms']),
    }


def measure_transport(parameters: Mapping[str, object], load: Load, *, profile: bool) -> Figures:
    """Count the images that reach the node, with the middleware's profile or without."""
    reading = measure(parameters, load, profile=profile)
    received = int(reading.increase('received'))
    return {
        'middleware': get_rmw_implementation_identifier(),
        'profile': profile,
        'sent': reading.sent,
        'received': received,
        'received_percent': round(100 * received / reading.sent, 1),
    }


def measure(parameters: Mapping[str, object], load: Load, *, profile: bool = True) -> Reading:
    """Start a node, put it under a load and return what the probe saw; logs stay if this fails."""
    environment = (image_profile if profile else no_profile)(os.environ) | isolated_graph()
    logs = Path(mkdtemp(prefix='lemore_latency_'))
    order, log = load._asdict(), logs / 'probe.log'
    with (
        start_node(parameters, logs / 'node.log', environment) as node,
        Child('lemore_ros.tools.probe', order, log=log, environment=environment) as probe,
    ):
        timeout_s = 2 * START_S + load.images / load.rate_hz
        wait_until(lambda: probe.ended, 'the end of the probe', node, timeout_s=timeout_s)
        reading = Reading(**probe.result())
    shutil.rmtree(logs)
    return reading


def print_table(figures: Sequence[Figures]) -> None:
    """Print figures of one kind below their names."""
    names = [re.sub('_p50|_ms', '', name).replace('_with_', '+') for name in figures[0]]
    for row in (names, *([str(value) for value in f.values()] for f in figures)):
        print('  '.join(f'{cell:>16}' for cell in row))


if __name__ == '__main__':
    sys.exit(main())
