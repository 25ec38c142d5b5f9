"""``lemore bag truth``: write labelled frames of a bag as a bag of ground truth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lemore_core.common.errors import LemoreError, counted
from lemore_ros.bags.errors import INCOMPLETE, BagError

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
    number, left_out = write_ground_truth(arguments.bag, arguments.data, arguments.output)
    print(f'{arguments.output}: {counted(number, "image")} on {NAMESPACE}/labels')
    if left_out:
        print(*left_out, sep='\n', file=sys.stderr)
        sys.exit(INCOMPLETE)


def write_ground_truth(bag: Path, data: Path, output: Path) -> tuple[int, list[str]]:
    """Write the masks of ``data`` of frames of ``bag``; return their number, and errors of others."""
    from lemore_core.common.files import require_new
    from lemore_core.data.annotation import all_samples
    from lemore_core.data.samples import Sample
    from lemore_core.sources import drive_name
    from lemore_ros.bags.evaluation.label_sources import stamp_of_name
    from lemore_ros.bags.options import SegmentOptions
    from lemore_ros.bags.reader import bag_name, open_bag
    from lemore_ros.bags.writer import add_connections, class_messages, label_message, new_part

    samples, start = all_samples(data), f'{drive_name(bag_name(bag))}_'
    samples = [one for one in samples if one.mask.stem.startswith(start)]
    if not samples:
        msg = f'{data} has no mask of a frame of {bag}: their names begin with {start}'
        raise BagError(msg)
    require_new(output, BagError)
    stamped, left_out = dict[int, Sample](), list[str]()
    for sample in samples:
        try:
            sample.read_mask()
            stamped[stamp_of_name(sample.mask)] = sample
        except LemoreError as error:  # noqa: PERF203 - one costs the others nothing
            left_out.append(str(error))
    if not stamped:
        raise BagError(left_out[0])
    labels, classes = keys = [(NAMESPACE, 'labels'), (NAMESPACE, 'classes')]
    with open_bag(bag) as opened, new_part(output, SegmentOptions()) as writer:
        connections = add_connections(writer, (), opened.types, keys)
        first = min(stamped)
        table = class_messages(samples[0].taxonomy, 0.0, first)['classes']
        writer.write(connections[classes], first, table)
        for time_ns, sample in sorted(stamped.items()):
            message = label_message(sample.read_mask(), time_ns)
            writer.write(connections[labels], time_ns, message)
    return len(stamped), left_out
