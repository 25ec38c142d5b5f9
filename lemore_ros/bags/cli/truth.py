"""``lemore bag truth``: write labelled frames of a bag as a bag of ground truth."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.common.errors import LemoreError, counted
from lemore_ros.bags.errors import INCOMPLETE, BagError

if TYPE_CHECKING:
    from lemore_ros.bags.types import Topic

NAMESPACE = '/ground_truth'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add('bag', type=Path, metavar='IN', help='the bag whose frames were labelled')
    text = 'a data set of the layout folder whose images lemore bag pick took'
    add('--data', type=Path, required=True, help=text)
    add('--output', '-o', type=Path, required=True, help='the new bag')


def run(arguments: argparse.Namespace) -> None:
    """Write the labels and their class table, with the stamps of the frames."""
    written, left_out = write_ground_truth(arguments.bag, arguments.data, arguments.output)
    for prefix, number in written.items():
        print(f'{arguments.output}: {counted(number, "image")} on {prefix}/labels')
    if left_out:
        print(*left_out, sep='\n', file=sys.stderr)
        sys.exit(INCOMPLETE)


def write_ground_truth(bag: Path, data: Path, output: Path) -> tuple[Counter[str], list[str]]:
    """Write the masks of ``data`` of frames of ``bag``, beside the classes.

    Return their numbers by the namespace, one for each camera, and the errors of those left out.
    """
    from lemore_core.common.files import require_new
    from lemore_core.data.annotation import all_samples
    from lemore_core.data.samples import Sample
    from lemore_core.sources import drive_name
    from lemore_ros.bags.options import SegmentOptions
    from lemore_ros.bags.reader import bag_name, open_bag
    from lemore_ros.bags.topics import find_cameras
    from lemore_ros.bags.writer import add_connections, class_messages, label_message, new_part

    samples, start = all_samples(data), f'{drive_name(bag_name(bag))}_'
    samples = [one for one in samples if one.mask.stem.startswith(start)]
    if not samples:
        msg = f'{data} has no mask of a frame of {bag}: their names begin with {start}'
        raise BagError(msg)
    require_new(output, BagError)
    with open_bag(bag) as opened, new_part(output, SegmentOptions()) as writer:
        found, _ = find_cameras(opened)
        cameras = {f'{NAMESPACE}/{name}'.rstrip('/'): one.topic for name, one in found.items()}
        placed, left_out = dict[tuple[int, str], Sample](), list[str]()
        for sample in samples:
            try:
                placed[_place(sample.mask, cameras)] = sample
            except LemoreError as error:  # noqa: PERF203 - one costs the others nothing
                left_out.append(str(error))
        # also for a camera without masks, or another camera's would be taken for its own
        keys = [(prefix, name) for prefix in cameras for name in ('classes', 'labels')]
        connections = add_connections(writer, (), opened.types, keys)
        first, written = min(placed, default=(0, ''))[0], Counter[str]()
        table = class_messages(samples[0].taxonomy, 0.0, first)['classes']
        for prefix in cameras:
            writer.write(connections[prefix, 'classes'], first, table)
        for (time_ns, prefix), sample in sorted(placed.items()):
            try:
                message = label_message(sample.read_mask(), time_ns)
            except LemoreError as error:
                left_out.append(str(error))
                continue
            writer.write(connections[prefix, 'labels'], time_ns, message)
            written[prefix] += 1
        if not written:
            raise BagError(left_out[0])
    return written, left_out


def _place(mask: Path, cameras: Mapping[str, Topic]) -> tuple[int, str]:
    """Return the stamp and the namespace of a mask by its name."""
    from lemore_ros.bags.evaluation.label_sources import camera_and_stamp
    from lemore_ros.bags.topics import name_in_files, names_in_files

    called, time_ns = camera_and_stamp(mask)
    own = [prefix for prefix, topic in cameras.items() if called in names_in_files(topic)]
    if len(own) != 1:
        names = [prefix.removeprefix(NAMESPACE) or topic.name for prefix, topic in cameras.items()]
        listed = ', '.join(map(name_in_files, names))
        remedy = f'call it DRIVE_CAMERA_SEC_NANOSEC.png, CAMERA being one of {listed}'
        msg = f'the mask {mask} does not say of which camera it is: {remedy}'
        raise BagError(msg)
    return time_ns, own[0]
