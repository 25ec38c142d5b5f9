"""``lemore bag video``.

Exit status: as that of ``lemore bag segment``, 3 where something could not be read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lemore_core.cli.arguments import share
from lemore_core.common.errors import counted
from lemore_ros.bags.cli.arguments import (
    add_image_arguments,
    add_label_arguments,
    exit_if_incomplete,
    open_images,
    opened_labels,
    progress,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, metavar='IN', help='the recorded drive')
    parser.add_argument('--output', '-o', type=Path, required=True, metavar='FILE.mp4')
    parser.add_argument(
        '--layout', default='overlay', help='overlay, or side-by-side: colours beside the image'
    )
    parser.add_argument('--alpha', type=share, default=0.5, help='weight of the colours (0.5)')
    parser.add_argument('--no-legend', action='store_true', help='leave the legend out')
    parser.add_argument('--no-stamps', action='store_true', help='leave the stamps out')
    parser.add_argument(
        '--max-width', type=int, default=1920, metavar='PIXELS', help='shrink what is wider (1920)'
    )
    add_label_arguments(parser)
    add_image_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the video, and say what was left out of it."""
    from lemore_ros.bags.evaluation.video import VideoStyle, write_video

    style = VideoStyle(
        arguments.layout,
        arguments.alpha,
        has_legend=not arguments.no_legend,
        has_stamps=not arguments.no_stamps,
        max_width=arguments.max_width,
    )
    images = open_images(arguments)
    with opened_labels(arguments) as source, progress(images.expected) as step:
        summary = write_video(images, source, arguments.output, style, step)
    rate = f', {summary.rate_hz:.2f} a second' if summary.frames > 1 else ''
    print(
        f'{arguments.output}: {counted(summary.frames, "frame")} in {summary.seconds:.3f} s{rate}'
    )
    for what, number in summary.error_counts.items():
        print(f'{number} {what}')
    exit_if_incomplete(images)
