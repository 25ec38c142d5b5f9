"""``lemore view``."""

from __future__ import annotations

import argparse
from pathlib import Path

from lemore_core.cli.arguments import add_segmenter_arguments, count, image_bar, load_segmenter
from lemore_core.common.errors import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('inputs', nargs='+', type=Path, help='bags, videos, images or folders')
    parser.add_argument('--save', type=Path, metavar='FILE.rrd', help='write a file instead')
    parser.add_argument('--frames', type=count, help='take only so many of each drive')
    add_segmenter_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Segment, and show it, or write it."""
    from itertools import islice

    from lemore_core.distill.sources import open_sources
    from lemore_core.images.files import read_image
    from lemore_core.images.image import Image
    from lemore_core.images.view import View

    sources = open_sources(arguments.inputs)
    frame = 0
    with View(arguments.save) as view:
        segmenter = load_segmenter(arguments)
        view.describe(segmenter.taxonomy)
        for source in sources:
            images = islice(source.frames(), arguments.frames)
            for given in image_bar(images, source.drive, source.expected, arguments.frames):
                pixels = read_image(given) if isinstance(given, Path) else given
                view.at(frame=frame)
                view.image(Image(pixels))
                result = segmenter.segment(pixels)
                view.labels(result.labels, result.confidence)
                view.figure('figures/latency_ms', result.timings.total_ms)
                frame += 1
    print(f'{counted(frame, "image")}: {arguments.save or "in the viewer"}')
