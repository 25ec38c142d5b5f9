"""``lemore bag compare``.

Exit status: as that of ``lemore bag segment``, 3 where something could not be read.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.cli.arguments import add_segmenter_arguments, load_segmenter
from lemore_ros.bags.cli.sources import (
    add_drive_arguments,
    add_output_arguments,
    complain,
    counting,
    open_drive,
    print_figures,
    require_report_packages,
    tolerance_ns,
    write_results,
)
from lemore_ros.bags.errors import BagError

if TYPE_CHECKING:
    from lemore_ros.bags.evaluation.compare_report import WorstDifferences
    from lemore_ros.bags.evaluation.labellers import LabelSource

IMAGES = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'bag', type=Path, metavar='A', help='a drive with labels, or to be labelled'
    )
    parser.add_argument(
        'other', type=Path, nargs='?', metavar='B', help='the same drive with other labels'
    )
    parser.add_argument(
        '--labels',
        nargs='+',
        default=[],
        metavar='TOPIC',
        help='with A and B: their topics of labels, one or two names; with A alone: topics of A',
    )
    parser.add_argument(
        '--models', nargs='+', default=[], metavar='MODEL', help='with A alone: label it by these'
    )
    add_segmenter_arguments(parser)
    parser.set_defaults(model=None)
    add_drive_arguments(parser)
    add_output_arguments(parser, IMAGES)


def run(arguments: argparse.Namespace) -> None:
    """Compare; print the figures or write them, and the report."""
    from lemore_ros.bags.evaluation.compare import compare_labellers
    from lemore_ros.bags.evaluation.labellers import described

    require_report_packages(arguments)
    with _opened(arguments) as (first, second):
        drive = open_drive(arguments, arguments.bag)
        names = _names(first, second)
        worst = _worst(arguments, first, names)
        with counting(drive.expected, worst) as step:
            comparison = compare_labellers(drive, first, second, step)
        facts = {'images': f'{drive.topic.name} in {drive.path}'}
        facts |= {side: described(one) for side, one in (('A', first), ('B', second))}
    values = {**facts, **comparison.to_dict()}
    report = None
    if worst is not None:
        from lemore_ros.bags.evaluation.compare_report import comparison_report

        report = comparison_report(comparison, worst.images, names=names, facts=facts)
    write_results(arguments, values, report)
    if arguments.json is None:
        print_figures(values)
    complain(drive)


@contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[tuple[LabelSource, LabelSource]]:
    """Open the two sides.

    Raises:
        LemoreError: there are not two, or one cannot be opened.

    """
    from lemore_ros.bags.evaluation.labellers import RecordedLabels

    tolerance = tolerance_ns(arguments)
    with ExitStack() as stack:
        sides: list[LabelSource] = []
        for path, topic in _recordings(arguments):
            sides.append(RecordedLabels(path, topic, arguments.dataset, tolerance))
            stack.callback(sides[-1].close)
        for model in arguments.models:
            sides.append(_predicted(arguments, model))
            stack.callback(sides[-1].close)
        yield sides[0], sides[1]


def _recordings(arguments: argparse.Namespace) -> list[tuple[Path, str]]:
    """Return the bags and topics of labels that are compared.

    Raises:
        BagError: with the models, there are not two sides.

    """
    topics = arguments.labels
    if arguments.model is not None:
        msg = f'--model {arguments.model} is one model, two sides are compared: use --models'
        raise BagError(msg)
    if arguments.other is not None:
        if arguments.models or len(topics) > 2:
            msg = 'with A and B, labels in both are compared: give one or two --labels, no --models'
            raise BagError(msg)
        names = [*topics, *topics[-1:], '', ''] if len(topics) < 2 else topics
        return [(arguments.bag, names[0]), (arguments.other, names[1])]
    if len(topics) + len(arguments.models) != 2:
        msg = (
            f'{len(topics)} topics of labels and {len(arguments.models)} models are given: two '
            'sides are compared, name two --models, two --labels, one of each, or a second bag'
        )
        raise BagError(msg)
    return [(arguments.bag, topic) for topic in topics]


def _predicted(arguments: argparse.Namespace, model: str) -> LabelSource:
    from lemore_ros.bags.evaluation.labellers import ModelLabels

    return ModelLabels(load_segmenter(argparse.Namespace(**{**vars(arguments), 'model': model})))


def _names(first: LabelSource, second: LabelSource) -> tuple[str, str]:
    """Return what the sides are called: as briefly as tells them apart."""
    for names in ((first.name, second.name), (first.origin, second.origin)):
        if names[0] != names[1]:
            return names
    return f'A: {first.name}', f'B: {second.name}'


def _worst(
    arguments: argparse.Namespace, first: LabelSource, names: tuple[str, str]
) -> WorstDifferences | None:
    if arguments.report is None:
        return None
    from lemore_ros.bags.evaluation.compare_report import WorstDifferences

    return WorstDifferences(arguments.report_images, first.taxonomy, names)
