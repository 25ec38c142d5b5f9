"""How long a camera's image takes to become labels in another process, and where the time goes.

A node is started for it, and a probe beside it that is camera and subscriber; images and labels
travel over the middleware of RMW_IMPLEMENTATION, with its profile for images unless you have set your own. Times are
medians in milliseconds: ``total`` from the publish call to the arrival of the labels, ``segmenter``
what the network's library says it took, ``rest`` the difference, ``work`` what the node itself does
besides for each image, and ``work+overlay`` the same while the overlay is subscribed to; ``cpu`` is
what all of its process takes of a core for an image.

Exit status: 0; 2 where nothing could be measured.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from lemore_core.cli.arguments import image_size, listed, positive
from lemore_core.common.errors import LemoreError
from lemore_ros.node.camera_stats import FRAMES_REMEMBERED
from lemore_ros.tools.measuring import (
    NODE,
    TRANSPORT_RATE_HZ,
    Figures,
    Load,
    MeasuredNode,
    measure_memory,
    measure_round_trip,
    measure_transport,
)

SIZES, DEFAULT_SIZES = listed(image_size), '640x480,1920x1080'
EXAMPLES = """\
examples
  ros2 run lemore_ros measure_latency
  ros2 run lemore_ros measure_latency --sizes 1280x720 --rate 30 --backend tensorrt --json
  ros2 run lemore_ros measure_latency --transport --seconds 60
  ros2 run lemore_ros measure_latency --cameras 2
  ros2 run lemore_ros measure_latency --attach /lemore_segmentation --sizes 640x480
"""


def main(args: Sequence[str] | None = None) -> int:
    """Measure, print and return the exit status."""
    arguments = _parser().parse_args(args)
    try:
        figures = measure(arguments)
    except LemoreError as error:
        print(f'measure_latency: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if arguments.json:
        print(json.dumps([_without_nan(figure) for figure in figures], indent=2))
    else:
        print_table(figures)
    return 0


def measure(arguments: argparse.Namespace) -> Sequence[Figures]:
    """Measure what the arguments ask for; figures of one kind.

    Raises:
        LemoreError: a process failed, or the topics are not as they must be.
    """
    target = MeasuredNode(
        {name: getattr(arguments, name) for name in ('model', 'backend', 'device', 'executor')},
        arguments.attach,
        arguments.image_topic,
    )
    if arguments.transport:
        images = max(1, round(TRANSPORT_RATE_HZ * arguments.seconds))
        return [measure_transport(target, images, profile=used) for used in (True, False)]
    count = max(1, round(arguments.rate * arguments.seconds))
    if arguments.cameras:
        load = Load(arguments.sizes[0][::-1], arguments.rate, count)
        return [measure_memory(target, load, n) for n in sorted({1, arguments.cameras})]
    # a running node's medians are those of its last images: they must all be of this load
    count = max(count, FRAMES_REMEMBERED) if arguments.attach else count
    loads = [Load((w, h), arguments.rate, count) for h, w in arguments.sizes]
    return [measure_round_trip(target, load) for load in loads]


def print_table(figures: Sequence[Figures]) -> None:
    """Print figures of one kind below their names."""
    names = [re.sub('_p50|_ms', '', name).replace('_with_', '+') for name in figures[0]]
    for row in (names, *([str(value) for value in f.values()] for f in figures)):
        print('  '.join(f'{cell:>16}' for cell in row))


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in values.items()}  # noqa: PLR0124


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        'measure_latency', description=__doc__, epilog=EXAMPLES, formatter_class=form
    )
    parser.add_argument(
        '--sizes', type=SIZES, default=SIZES(DEFAULT_SIZES), help=f'images: {DEFAULT_SIZES}'
    )
    parser.add_argument('--rate', type=positive, default=10.0, help='images a second: 10')
    parser.add_argument('--seconds', type=positive, default=10.0, help='of each run: 10')
    parser.add_argument('--model', default='tiny', help='tiny, or as the parameter of the node')
    parser.add_argument('--backend', default='auto', help='auto, or as the parameter of the node')
    parser.add_argument('--device', default='auto', help='auto, or as the parameter of the node')
    parser.add_argument('--executor', default='single', help='single, or events')
    parser.add_argument('--image-topic', default='/image', help="the --attach node's: /image")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        '--attach',
        default='',
        metavar='NODE',
        help=f'measure a running node, such as {NODE}, whose camera is switched off',
    )
    instead.add_argument(
        '--transport',
        action='store_true',
        help='count instead how many 1920x1080 images at 30 Hz reach the node, with a profile and '
        "with the middleware's defaults",
    )
    instead.add_argument(
        '--cameras',
        type=int,
        metavar='N',
        help='compare instead the memory of a node with one camera and with N',
    )
    parser.add_argument('--json', action='store_true', help='print JSON')
    return parser


if __name__ == '__main__':
    sys.exit(main())
