"""``lemore bag evaluate``.

Exit status: as that of ``lemore bag segment``, 3 where something could not be read.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_ros.bags.cli import arguments as shared
from lemore_ros.bags.errors import BagError

if TYPE_CHECKING:
    from lemore_ros.bags.evaluation.label_sources import LabelSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, metavar='IN', help='the recorded drive')
    truth = parser.add_argument_group('ground truth')
    truth.add_argument(
        '--ground-truth',
        default='',
        metavar='TOPIC|FOLDER|BAG',
        help='a topic of labels in IN, a folder of masks called <sec>_<nanosec>.png or '
        '<nanoseconds>.png by the stamps of their images, or another bag',
    )
    truth.add_argument(
        '--ground-truth-topic', default='', metavar='TOPIC', help='of labels in that bag'
    )
    truth.add_argument(
        '--ground-truth-ids',
        choices=('classes', 'dataset'),
        default='classes',
        help="what masks in a folder hold: class ids, or the data set's own ids or colors",
    )
    parser.add_argument('--labels', metavar='TOPIC', help='take the labels of this topic of IN')
    shared.add_arguments(parser, report_images=12)


def run(arguments: argparse.Namespace) -> None:
    """Measure the labels; print the figures, and write the report."""
    from lemore_ros.bags.evaluation.label_sources import GroundTruth

    images = shared.open_images(arguments, [arguments.labels or '', arguments.ground_truth])
    truth, facts = None, {}
    with ExitStack() as stack:
        source = stack.enter_context(closing(_open_labels(arguments)))
        print(source.description, file=sys.stderr if arguments.json else sys.stdout)
        if arguments.ground_truth:
            truth = GroundTruth(
                arguments.ground_truth,
                arguments.bag,
                source.taxonomy,
                arguments.tolerance_ns,
                topic=arguments.ground_truth_topic,
                ids=arguments.ground_truth_ids,
            )
            stack.enter_context(closing(truth))
            facts['ground_truth'] = truth.name
        shared.measure(arguments, images, source, truth, {**facts, **source.facts})


def _open_labels(arguments: argparse.Namespace) -> LabelSource:
    """Open the named topic or model, or else the labels in the bag, or else the default model."""
    from lemore_ros.bags.evaluation.label_sources import RecordedLabels
    from lemore_ros.bags.reader import open_bag
    from lemore_ros.bags.topics import recorded_labels

    names = [arguments.labels] if arguments.labels else []
    if not names and arguments.model is None:
        with open_bag(arguments.bag) as bag:
            names = [topic.name for topic in recorded_labels(bag)]
        names = [name for name in names if name != arguments.ground_truth]
    if len(names) > 1:
        listed = ', '.join(names)
        msg = f'{arguments.bag} has labels on {listed}: choose with --labels, or name a --model'
        raise BagError(msg)
    if not names:
        return shared.open_model(arguments, arguments.model or 'tiny')
    return RecordedLabels(arguments.bag, names[0], arguments.dataset, arguments.tolerance_ns)
