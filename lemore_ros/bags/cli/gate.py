"""Options that let ``lemore bag evaluate`` and ``compare`` fail; the exit status is 4 then."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemore_ros.bags.errors import BagError

if TYPE_CHECKING:
    from lemore_ros.bags.evaluation.conditions import Condition

FAILED = 4  # exit status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the conditions, what is compared with, and the report."""
    add = parser.add_argument_group('conditions').add_argument
    text = "such as 'agreement<0.97', 'iou.person drops 2' or 'flicker rises 10%%' (repeat)"
    add('--fail-if', action='append', default=[], metavar='CONDITION', help=text)
    text = 'figures before, which lemore bag evaluate --json printed'
    add('--baseline', type=Path, metavar='FILE.json', help=text)
    add('--junit', type=Path, metavar='FILE.xml', help='write the conditions as a JUnit report')


def open_gate(
    arguments: argparse.Namespace, camera: str, classes: Sequence[str]
) -> tuple[list[Condition], Mapping[str, Any]]:
    """Return the conditions and the baseline (empty without), checked before a bag is read."""
    from lemore_ros.bags.evaluation.conditions import Condition, read_baseline

    if (arguments.junit or arguments.baseline) and not arguments.fail_if:
        msg = '--junit and --baseline are for conditions: give them with --fail-if'
        raise BagError(msg)
    conditions = [Condition.parse(text, classes) for text in arguments.fail_if]
    expected = {'camera': camera, 'classes': list(classes)}
    return conditions, read_baseline(arguments.baseline, expected) if arguments.baseline else {}


def close_gate(
    arguments: argparse.Namespace,
    conditions: Sequence[Condition],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    """Print and write the outcomes on JSON values of an evaluation; exit where a condition holds."""
    from lemore_ros.bags.evaluation.conditions import require_same, write_junit

    if arguments.baseline:
        require_same(arguments.baseline, before, {'image_size': after['image_size']})
    outcomes = [condition.check(before, after) for condition in conditions]
    for outcome in outcomes:
        verdict = 'FAILED' if outcome.fails else 'passed'
        print(f'{verdict}  {outcome.condition}: {outcome.figure}', file=sys.stderr)
    if arguments.junit:
        write_junit(arguments.junit, outcomes, f'lemore bag {arguments.bag.name}')
    if any(outcome.fails for outcome in outcomes):
        sys.exit(FAILED)
