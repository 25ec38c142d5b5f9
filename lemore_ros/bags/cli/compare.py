"""``lemore bag compare``.

Exit status: as that of ``lemore bag segment``, 3 where something could not be read.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.cli.arguments import add_segmenter_arguments
from lemore_ros.bags.cli.arguments import (
    add_image_arguments,
    add_report_arguments,
    exit_if_incomplete,
    open_images,
    open_model,
    progress,
    require_report_packages,
    write_results,
)
from lemore_ros.bags.errors import BagError

if TYPE_CHECKING:
    from lemore_ros.bags.evaluation.label_sources import LabelSource

IMAGES = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, metavar='A', help='a bag with labels, or to segment')
    parser.add_argument(
        'other', type=Path, nargs='?', metavar='B', help='the same images with other labels'
    )
    parser.add_argument(
        '--labels',
        nargs='+',
        default=[],
        metavar='TOPIC',
        help='with A and B: their topics of labels, one or two names; with A alone: topics of A',
    )
    parser.add_argument(
        '--models', nargs='+', default=[], metavar='MODEL', help='with A alone: segment it by these'
    )
    add_segmenter_arguments(parser)
    parser.set_defaults(model=None)
    add_image_arguments(parser)
    add_report_arguments(parser, IMAGES)


def run(arguments: argparse.Namespace) -> None:
    """Compare; print the figures, and write the report."""
    from lemore_ros.bags.evaluation.evaluate import evaluate_drive
    from lemore_ros.bags.evaluation.label_sources import RecordedLabels
    from lemore_ros.bags.evaluation.report import drive_report, worst_frames

    require_report_packages(arguments)
    topics = _topics(arguments)
    report = None
    with ExitStack() as stack:
        sides: list[LabelSource] = []
        for path, topic in topics:
            sides.append(RecordedLabels(path, topic, arguments.dataset, arguments.tolerance_ns))
            stack.enter_context(closing(sides[-1]))
        for model in arguments.models:
            sides.append(open_model(arguments, model))
            stack.enter_context(closing(sides[-1]))
        first, second = sides
        images = open_images(arguments)
        names = _names(first, second)
        worst = worst_frames(arguments.report_images, first.taxonomy, names)
        observe = None if arguments.report is None else worst
        step = stack.enter_context(progress(images.expected, observe))
        evaluation = evaluate_drive(images, second, first, step)
    described = [side.description for side in sides]
    if described[0] == described[1] and len(topics) == 2:
        # bags of one name, in two folders
        described = [f'{text} ({path})' for text, (path, _) in zip(described, topics, strict=True)]
    images_of = f'{images.topic.name} in {images.path}'
    facts = {'images': images_of, 'A': described[0], 'B': described[1]}
    if arguments.report is not None:
        title = f'{names[0]} and {names[1]}'
        report = drive_report(evaluation, worst.images, title=title, facts=facts, names=names)
    write_results(arguments, {**facts, **evaluation.to_dict()}, report)
    exit_if_incomplete(images)


def _topics(arguments: argparse.Namespace) -> list[tuple[Path, str]]:
    """Return the bags and topics of labels; with the models these must be two sides."""
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


def _names(first: LabelSource, second: LabelSource) -> tuple[str, str]:
    """Return names of the sides, as short as tells them apart."""
    for names in ((first.name, second.name), (first.origin, second.origin)):
        if names[0] != names[1]:
            return names
    return f'A: {first.name}', f'B: {second.name}'
