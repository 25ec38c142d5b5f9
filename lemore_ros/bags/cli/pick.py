"""``lemore bag pick``; the exit status is 3 if something could not be read."""

from __future__ import annotations

import argparse
import math
from importlib import import_module
from pathlib import Path

from lemore_core.cli.arguments import SEGMENTER, count, declare, image_bar, load_segmenter, seconds
from lemore_core.common.errors import counted
from lemore_ros.bags.errors import BagError

FORMATS = 'cvat', 'label-studio', 'labelme', 'coco'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add('inputs', nargs='+', metavar='IN', help='bags, videos or folders of images')
    add('--output', '-o', type=Path, required=True, help='folder of the data set')
    add('--number', '-n', type=count, default=100, metavar='N', help='frames to pick at most (100)')
    add('--format', choices=FORMATS, help='write the labels for this tool too')
    text = 'seconds between two frames of a drive, at least (2)'
    add('--apart', type=seconds, default=2.0, metavar='S', help=text)
    add('--every', type=count, default=1, metavar='N', help='look at every n-th image only')
    declare(parser, 'max-pixels', *SEGMENTER)


def run(arguments: argparse.Namespace) -> None:
    """Look at all frames, and write the chosen ones."""
    from tqdm import tqdm

    from lemore_core.cli.predict import exit_if_incomplete
    from lemore_core.common.files import require_new
    from lemore_core.data.annotation import PACKAGES, write_annotations
    from lemore_core.pick import Seen, choose, look, write_picked
    from lemore_core.sources import open_sources

    output = arguments.output
    require_new(output, BagError)
    if arguments.format:
        import_module(PACKAGES.get(arguments.format, 'json'))  # before all frames are read
    sources = open_sources(arguments.inputs, arguments.max_pixels)
    segmenter = load_segmenter(arguments)
    seen: list[Seen] = []
    for source in sources:
        steps = look(segmenter, source, arguments.every)
        seen += image_bar(steps, source.name, source.expected)
    chosen = choose(seen, arguments.number, arguments.apart) if seen else []
    if not chosen:
        msg = f'{", ".join(arguments.inputs)}: not one image could be read'
        raise BagError(msg)
    with tqdm(total=len(chosen), desc='writing', unit='image', disable=None) as bar:
        write_picked(segmenter, chosen, output, bar.update)
    if arguments.format:
        write_annotations(arguments.format, output)
    drives = counted(len({one.source.drive for one in chosen}), 'drive')
    print(f'{output}: {len(chosen)} of {counted(len(seen), "image")}, of {drives}')
    if len(chosen) < min(arguments.number, len(seen)):
        print(f'the others show the same, or are less than {arguments.apart:g} s from these')
    if math.isnan(chosen[0].familiarity):
        print('the model does not tell how familiar a frame is: picked by confidence alone')
    exit_if_incomplete(sources)
