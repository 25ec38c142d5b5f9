"""``lemore view``. Exit status: 3 where a part of the inputs could not be read."""

from __future__ import annotations

import argparse
from pathlib import Path

from lemore_core.cli.arguments import SEGMENTER, count, declare, image_bar
from lemore_core.cli.predict import exit_if_incomplete, load_for, open_inputs
from lemore_core.common.errors import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    text = 'bags, videos, images, folders, or numbers of cameras'
    parser.add_argument('inputs', nargs='+', help=text)
    parser.add_argument('--save', type=Path, metavar='FILE.rrd', help='write a file instead')
    parser.add_argument('--frames', type=count, help='take only so many of each drive')
    declare(parser, 'bit-depth', 'max-pixels', *SEGMENTER)
    parser.set_defaults(model=None)  # as in predict


def run(arguments: argparse.Namespace) -> None:
    """Segment, and show it, or write it."""
    from itertools import islice

    from lemore_core.images.view import View

    sources = open_inputs(arguments)
    names = [source.name for source in sources] if len(sources) > 1 else ['']
    number = 0
    with View(arguments.save, names) as view:
        segmenter = load_for(sources, arguments)
        for name, source in zip(names, sources, strict=True):
            view.source = name
            if taxonomy := source.taxonomy or (segmenter and segmenter.taxonomy):
                view.describe(taxonomy)
            frames = islice(source.frames(), arguments.frames)
            for frame in image_bar(frames, source.name, source.expected, arguments.frames):
                view.at(frame=number, stamp_ns=frame.stamp_ns)
                view.image(frame.image)
                if frame.labels is not None:
                    view.labels(frame.labels)
                elif segmenter and not source.taxonomy:
                    (result,) = segmenter.segment_batch([frame.image])
                    view.labels(result.labels, result.confidence)
                    view.figure('figures/latency_ms', result.timings.total_ms)
                    for figure in ('familiarity', 'sureness'):
                        if (share := getattr(result, figure)) is not None:
                            view.figure(f'figures/{figure}', 100 * share)
                number += 1
    print(f'{counted(number, "image")}: {arguments.save or "in the viewer"}')
    exit_if_incomplete(sources)
