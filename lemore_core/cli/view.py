"""``lemore view``. Exit status: 3 where a part of the inputs could not be read."""

from __future__ import annotations

import argparse
from pathlib import Path

from lemore_core.cli.arguments import SEGMENTER, count, declare, image_bar, load_segmenter
from lemore_core.cli.predict import exit_if_incomplete
from lemore_core.common.errors import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    text = 'bags, videos, images, folders, or numbers of cameras'
    parser.add_argument('inputs', nargs='+', help=text)
    parser.add_argument('--save', type=Path, metavar='FILE.rrd', help='write a file instead')
    parser.add_argument('--frames', type=count, help='take only so many of each drive')
    declare(parser, *SEGMENTER)


def run(arguments: argparse.Namespace) -> None:
    """Segment, and show it, or write it."""
    from itertools import islice

    from lemore_core.images.view import View
    from lemore_core.sources import open_sources

    sources = open_sources(arguments.inputs)
    number = 0
    with View(arguments.save) as view:
        segmenter = load_segmenter(arguments)
        view.describe(segmenter.taxonomy)
        for source in sources:
            frames = islice(source.frames(), arguments.frames)
            for frame in image_bar(frames, source.name, source.expected, arguments.frames):
                (result,) = segmenter.segment_batch([frame.image])
                view.at(frame=number, stamp_ns=frame.stamp_ns)
                view.image(frame.image)
                view.labels(result.labels, result.confidence)
                view.figure('figures/latency_ms', result.timings.total_ms)
                number += 1
    print(f'{counted(number, "image")}: {arguments.save or "in the viewer"}')
    exit_if_incomplete(sources)
