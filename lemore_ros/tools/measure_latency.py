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
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np
from rclpy.utilities import get_rmw_implementation_identifier

from lemore_core.cli.arguments import image_size, listed, positive
from lemore_core.common.child import Child
from lemore_core.common.errors import LemoreError
from lemore_ros.share import image_profile, no_profile
from lemore_ros.tools.processes import START_S, isolated_graph, start_node, wait_until

SIZES, DEFAULT_SIZES = listed(image_size), '640x480,1920x1080'
SECONDS = 10.0
TRANSPORT_SIZE, TRANSPORT_RATE_HZ, TRANSPORT_SECONDS = (1080, 1920), 30.0, 60.0

Parameters = Mapping[str, object]
Figures = dict[str, Any]


class Load(NamedTuple):
    """So many ``images`` of ``size`` (height, width); ``others`` are outputs to render."""

    size: tuple[int, int]
    rate_hz: float
    images: int
    others: tuple[str, ...] = ()


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
    parser.add_argument('--model', default='tiny', help='as the parameter of the node: tiny')
    parser.add_argument('--backend', default='auto', help='as the parameter of the node: auto')
    parser.add_argument(
        '--transport',
        action='store_true',
        help='count instead how many 1920x1080 images at 30 Hz reach the node in a minute, with a '
        "profile and with the middleware's defaults",
    )
    options = parser.parse_args(args)
    node = {'model': options.model, 'backend': options.backend}
    try:
        if options.transport:
            count = round(TRANSPORT_RATE_HZ * TRANSPORT_SECONDS)
            figures = [measure_transport(node, count, profile=used) for used in (True, False)]
        else:
            count = round(options.rate * SECONDS) or 1
            figures = []
            for size in options.sizes:
                plain = Load(size, options.rate, count)
                overlaid = plain._replace(others=('overlay',))
                figures.append(round_trip(plain, measure(node, plain), measure(node, overlaid)))
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


def measure_transport(node: Parameters, count: int, *, profile: bool) -> Figures:
    """Count the full-HD images at 30 Hz that reach the node, with the middleware's profile or without."""
    reading = measure(node, Load(TRANSPORT_SIZE, TRANSPORT_RATE_HZ, count), profile=profile)
    received = int(reading.increase('received'))
    return {
        'middleware': get_rmw_implementation_identifier(),
        'profile': profile,
        'sent': reading.sent,
        'received': received,
        'received_percent': round(100 * received / reading.sent, 1),
    }


def measure(parameters: Parameters, load: Load, *, profile: bool = True) -> Reading:
    """Start a node, put it under a load and return what the probe saw; logs stay if this fails."""
    environment = (image_profile if profile else no_profile)(os.environ) | isolated_graph()
    logs = Path(mkdtemp(prefix='lemore_latency_'))
    (height, width), rate, count = load.size, load.rate_hz, load.images
    options = {'--width': width, '--height': height, '--rate': rate, '--count': count}
    arguments = [str(word) for option in options.items() for word in option]
    arguments += ['--others', *load.others]
    with ExitStack() as stack:
        node = stack.enter_context(start_node(parameters, logs / 'node.log', environment))
        probe = Child(
            'lemore_ros.tools.probe',
            arguments=arguments,
            log=logs / 'probe.log',
            environment=environment,
        )
        stack.enter_context(probe)
        timeout_s = 2 * START_S + count / rate
        wait_until(lambda: probe.ended, 'the end of the probe', node, timeout_s=timeout_s)
        reading = Reading(**probe.result())
    for log in logs.iterdir():
        log.unlink()
    logs.rmdir()
    return reading


def print_table(figures: Sequence[Figures]) -> None:
    """Print figures of one kind below their names."""
    names = [re.sub('_p50|_ms', '', name).replace('_with_', '+') for name in figures[0]]
    for row in (names, *([str(value) for value in f.values()] for f in figures)):
        print('  '.join(f'{cell:>16}' for cell in row))


if __name__ == '__main__':
    sys.exit(main())
