"""``lemore bag evaluate``.

Exit status: as that of ``lemore bag segment``, 3 where something could not be read.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_ros.bags.cli.sources import (
    add_drive_arguments,
    add_labels_arguments,
    add_output_arguments,
    complain,
    counting,
    open_drive,
    opened_labeller,
    print_figures,
    require_report_packages,
    tolerance_ns,
    write_results,
)

if TYPE_CHECKING:
    from lemore_core.taxonomy import Taxonomy
    from lemore_ros.bags.evaluation.drive import ImageSequence
    from lemore_ros.bags.evaluation.truth import Truth
    from lemore_ros.bags.evaluation.worst_frames import WorstFrames

IMAGES = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, metavar='IN', help='the recorded drive')
    truth = parser.add_argument_group('truth')
    truth.add_argument(
        '--truth',
        metavar='TOPIC|FOLDER|BAG',
        help='a topic of labels in IN, a folder of masks called <sec>_<nanosec>.png or '
        '<nanoseconds>.png by the stamps of their images, or another bag',
    )
    truth.add_argument('--truth-topic', default='', metavar='TOPIC', help='of labels in that bag')
    truth.add_argument(
        '--truth-ids',
        choices=('classes', 'dataset'),
        default='classes',
        help="what masks in a folder hold: class ids, or the data set's own ids or colors",
    )
    add_labels_arguments(parser)
    add_drive_arguments(parser)
    add_output_arguments(parser, IMAGES)


def run(arguments: argparse.Namespace) -> None:
    """Measure the drive; print the figures or write them, and the report."""
    from lemore_ros.bags.evaluation.evaluate import evaluate_drive

    require_report_packages(arguments)
    drive = open_drive(arguments, arguments.bag)
    with opened_labeller(arguments, arguments.bag) as labeller:
        truth = _open_truth(arguments, labeller.taxonomy)
        worst = _worst_frames(arguments, labeller.taxonomy)
        with counting(drive.expected, worst) as step:
            evaluation = evaluate_drive(drive, labeller, truth, step)
        facts = {**_facts(drive, truth), **labeller.facts()}
    values = {**facts, **evaluation.to_dict()}
    report = None
    if worst is not None:
        from lemore_ros.bags.evaluation.report import drive_report

        title = f'{labeller.name} on {arguments.bag.name}'
        report = drive_report(evaluation, worst.images, title=title, facts=facts)
    write_results(arguments, values, report)
    if arguments.json is None:
        print_figures(values)
    complain(drive)


def _open_truth(arguments: argparse.Namespace, taxonomy: Taxonomy) -> Truth | None:
    if arguments.truth is None:
        return None
    from lemore_ros.bags.evaluation.truth import open_truth

    return open_truth(
        arguments.truth,
        arguments.bag,
        taxonomy,
        tolerance_ns(arguments),
        topic=arguments.truth_topic,
        ids=arguments.truth_ids,
    )


def _worst_frames(arguments: argparse.Namespace, taxonomy: Taxonomy) -> WorstFrames | None:
    if arguments.report is None:
        return None
    from lemore_ros.bags.evaluation.worst_frames import WorstFrames

    has_truth = arguments.truth is not None
    return WorstFrames(arguments.report_images, taxonomy, has_truth=has_truth)


def _facts(drive: ImageSequence, truth: Truth | None) -> dict[str, str]:
    facts = {'bag': str(drive.path), 'camera': drive.topic.name}
    if truth is not None:
        facts['truth'] = truth.source
    return facts | ({'damage': drive.damage} if drive.damage else {})
