"""``lemore bag evaluate``.

Exit status: as that of ``lemore bag segment``, 3 where something could not be read.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack, closing
from pathlib import Path

from lemore_ros.bags.cli.arguments import (
    add_image_arguments,
    add_label_arguments,
    add_report_arguments,
    exit_if_incomplete,
    open_images,
    opened_labels,
    progress,
    require_report_packages,
    write_results,
)

IMAGES = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, metavar='IN', help='the recorded drive')
    truth = parser.add_argument_group('ground truth')
    truth.add_argument(
        '--ground-truth',
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
    add_label_arguments(parser)
    add_image_arguments(parser)
    add_report_arguments(parser, IMAGES)


def run(arguments: argparse.Namespace) -> None:
    """Measure the labels; print the figures, and write the report."""
    from lemore_ros.bags.evaluation.evaluate import evaluate_drive
    from lemore_ros.bags.evaluation.label_sources import GroundTruth
    from lemore_ros.bags.evaluation.report import drive_report, worst_frames

    require_report_packages(arguments)
    images = open_images(arguments)
    facts = {'bag': str(images.path), 'camera': images.topic.name}
    truth, report = None, None
    with ExitStack() as stack:
        source = stack.enter_context(opened_labels(arguments))
        if arguments.ground_truth is not None:
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
        worst = worst_frames(arguments.report_images, source.taxonomy)
        observe = None if arguments.report is None else worst
        step = stack.enter_context(progress(images.expected, observe))
        evaluation = evaluate_drive(images, source, truth, step)
        facts |= {**source.facts(), **({'damage': images.damage} if images.damage else {})}
    if arguments.report is not None:
        title = f'{source.name} on {arguments.bag.name}'
        report = drive_report(evaluation, worst.images, title=title, facts=facts)
    write_results(arguments, {**facts, **evaluation.to_dict()}, report)
    exit_if_incomplete(images)
