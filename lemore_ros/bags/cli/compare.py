"""``lemore bag compare``; the exit status is 3 if something could not be read."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.taxonomy import TaxonomyError
from lemore_ros.bags.cli import evaluate
from lemore_ros.bags.errors import BagError

if TYPE_CHECKING:
    from lemore_ros.bags.evaluation.label_sources import LabelSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add('bag', type=Path, metavar='A', help='a bag with labels, or to segment')
    add('other', type=Path, nargs='?', metavar='B', help='the same images with other labels')
    text = 'with A and B: their topics of labels, one or two names; with A alone: topics of A'
    add('--labels', nargs='+', default=[], metavar='TOPIC', help=text)
    text = 'with A alone: segment it by these'
    add('--models', nargs='+', default=[], metavar='MODEL', help=text)
    evaluate.add_shared_arguments(parser, report_images=24)


def run(arguments: argparse.Namespace) -> None:
    """Compare; print the figures, and write the report."""
    if arguments.baseline is not None:
        _compare_with_baseline(arguments)
        return
    images = evaluate.open_images(arguments, arguments.labels)
    with ExitStack() as stack:
        first, second = [stack.enter_context(closing(side)) for side in _open_sides(arguments)]
        names = f'A: {first.name}', f'B: {second.name}'
        # as short as tells them apart
        for short in ((first.origin, second.origin), (first.name, second.name)):
            names = short if short[0] != short[1] else names
        facts, truth = {'A': first.description, 'B': second.description}, None
        if arguments.ground_truth:
            opened = evaluate.open_ground_truth(arguments, second, images)
            truth = stack.enter_context(closing(opened))
            facts |= truth.facts
        evaluate.measure(arguments, images, second, first, facts, names, truth)


def _compare_with_baseline(arguments: argparse.Namespace) -> None:
    models, labels = arguments.models, arguments.labels
    if len(models) + len(labels) > 1 or arguments.other is not None:
        msg = 'a baseline is compared with one side: name one of --models, --labels, or neither'
        raise BagError(msg)
    arguments.model = models[0] if models else None
    arguments.labels = labels[0] if labels else None
    evaluate.run(arguments)


def _open_sides(arguments: argparse.Namespace) -> Iterator[LabelSource]:
    """Open both sides, in groups where they have other classes than these."""
    unfit: list[TaxonomyError] = []
    for side in _open_ungrouped(arguments):
        if arguments.class_groups:
            try:
                side.group(arguments.class_groups)
            except TaxonomyError as error:
                unfit.append(error)
                if len(unfit) > 1:
                    raise
        yield side


def _open_ungrouped(arguments: argparse.Namespace) -> Iterator[LabelSource]:
    """Open the topics of labels, then the models; these must be two."""
    from lemore_ros.bags.evaluation.label_sources import RecordedLabels

    topics, models, other = arguments.labels, arguments.models, arguments.other
    if other is not None and len(topics) < 2:
        topics = 2 * (topics or [''])
    if len(topics) + len(models) != 2 or arguments.model is not None:
        msg = (
            f'{len(arguments.labels)} --labels and {len(models)} --models are given: two sides are '
            'compared, name two --models, two --labels or one of each; or a second bag and no '
            '--models'
        )
        raise BagError(msg)
    for path, topic in zip((arguments.bag, other or arguments.bag), topics, strict=False):
        yield RecordedLabels(path, topic, arguments.dataset, arguments.tolerance_ns)
    for model in models:
        yield evaluate.open_model(arguments, model)
