"""``lemore bag video``.

Exit status: as that of ``lemore bag segment``, 3 where something could not be read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lemore_ros.bags.cli.sources import (
    add_drive_arguments,
    add_labels_arguments,
    complain,
    counting,
    open_drive,
    opened_labeller,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, metavar='IN', help='the recorded drive')
    parser.add_argument('--output', '-o', type=Path, required=True, metavar='FILE.mp4')
    parser.add_argument(
        '--layout',
        choices=('overlay', 'side-by-side'),
        default='overlay',
        help='colours over the image, or beside it',
    )
    parser.add_argument('--alpha', type=float, default=0.5, help='weight of the colours, 0.5')
    parser.add_argument('--no-legend', action='store_true', help='leave the legend out')
    parser.add_argument('--no-stamps', action='store_true', help='leave the stamps out')
    parser.add_argument(
        '--max-width', type=int, default=1920, metavar='PIXELS', help='shrink what is wider, 1920'
    )
    add_labels_arguments(parser)
    add_drive_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the video, and say what was left out of it."""
    from lemore_ros.bags.evaluation.canvas import VideoLook
    from lemore_ros.bags.evaluation.video import write_video

    look = VideoLook(
        arguments.layout,
        arguments.alpha,
        has_legend=not arguments.no_legend,
        has_stamps=not arguments.no_stamps,
        max_width=arguments.max_width,
    )
    drive = open_drive(arguments, arguments.bag)
    with opened_labeller(arguments, arguments.bag) as labeller, counting(drive.expected) as step:
        summary = write_video(drive, labeller, arguments.output, look, step)
    rate = f', {summary.rate_hz:.2f} a second' if summary.frames > 1 else ''
    print(f'{arguments.output}: {summary.frames} frames in {summary.seconds:.3f} s{rate}')
    for what, number in summary.trouble.items():
        print(f'{number} {what}')
    complain(drive)
