"""``lemore predict``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.cli.arguments import (
    add_max_pixels_argument,
    add_segmenter_arguments,
    count,
    image_bar,
    load_segmenter,
    share,
)
from lemore_core.common.errors import counted
from lemore_core.common.limits import ROTATIONS

if TYPE_CHECKING:
    from lemore_core.predict import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'inputs',
        nargs='+',
        help='images, folders (with all below them), videos, or numbers of cameras',
    )
    parser.add_argument('--output', '-o', type=Path, required=True, help='folder for the results')
    parser.add_argument('--alpha', type=share, default=0.5, help='weight of the colours, 0.5')
    parser.add_argument('--frames', type=count, help='of a video or camera, take only so many')
    parser.add_argument('--no-legend', action='store_true', help='leave the legend out')
    parser.add_argument(
        '--rotate',
        type=int,
        choices=ROTATIONS,
        default=0,
        help='degrees clockwise that make the images upright before the network sees them',
    )
    add_max_pixels_argument(parser)
    add_segmenter_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write labels and overlays, with a progress bar."""
    from lemore_core.predict import find_sources

    sources = find_sources(arguments.inputs, arguments.max_pixels)
    # seconds without a word look like a failure
    log = logging.getLogger('lemore_core.export')
    former = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler := logging.StreamHandler())
    try:
        _predict(arguments, sources)
    finally:
        log.removeHandler(handler)
        log.setLevel(former)
    inputs = counted(len(sources), 'input')
    print(f'{inputs}: {arguments.output / "labels"}, {arguments.output / "overlay"}')


def _predict(arguments: argparse.Namespace, sources: list[Source]) -> None:
    from lemore_core.predict import predict

    segmenter = load_segmenter(arguments)
    for source in sources:
        steps = predict(
            segmenter,
            source,
            arguments.output,
            alpha=arguments.alpha,
            frames=arguments.frames,
            rotation=arguments.rotate,
            has_legend=not arguments.no_legend,
        )
        for _ in image_bar(steps, source.name, source.expected(), arguments.frames):
            pass
