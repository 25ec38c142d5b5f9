"""``lemore bag compare``.

Exit status: as that of ``lemore bag segment``, 3 where something could not be read.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_ros.bags.cli import arguments as shared
from lemore_ros.bags.errors import BagError

if TYPE_CHECKING:
    from lemore_ros.bags.evaluation.label_sources import LabelSource


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
    shared.add_arguments(parser, report_images=24)


def run(arguments: argparse.Namespace) -> None:
    """Compare; print the figures, and write the report."""
    from lemore_ros.bags.evaluation.label_sources import RecordedLabels

    topics = _topics(arguments)
    images = shared.open_images(arguments, arguments.labels)
    dataset, tolerance = arguments.dataset, arguments.tolerance_ns
    with ExitStack() as stack:
        sides: list[LabelSource] = []
        for path, topic in topics:
            sides.append(RecordedLabels(path, topic, dataset, tolerance))
            stack.enter_context(closing(sides[-1]))
        for model in arguments.models:
            sides.append(shared.open_model(arguments, model))
            stack.enter_context(closing(sides[-1]))
        first, second = sides
        facts = {'A': first.description, 'B': second.description}
        shared.measure(arguments, images, second, first, facts, _names(first, second))


def _topics(arguments: argparse.Namespace) -> list[tuple[Path, str]]:
    """Return the bags and topics of labels; with the models these must be two sides."""
    topics, models = arguments.labels, arguments.models
    if arguments.other is None:
        is_pair = len(topics) + len(models) == 2
    else:
        is_pair = not models and len(topics) <= 2
    if not is_pair or arguments.model is not None:
        msg = (
            f'{len(topics)} --labels and {len(models)} --models are given: two sides are compared, '
            'name two --models, two --labels or one of each; or a second bag and no --models'
        )
        raise BagError(msg)
    if arguments.other is None:
        return [(arguments.bag, topic) for topic in topics]
    first, second = topics if len(topics) == 2 else 2 * (topics or [''])
    return [(arguments.bag, first), (arguments.other, second)]


def _names(first: LabelSource, second: LabelSource) -> tuple[str, str]:
    """Return names of the sides, as short as tells them apart."""
    for names in ((first.name, second.name), (first.origin, second.origin)):
        if names[0] != names[1]:
            return names
    return f'A: {first.name}', f'B: {second.name}'
