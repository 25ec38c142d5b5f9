"""Conditions under which ``lemore bag evaluate`` and ``compare`` refuse a model, with exit status 4."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from lemore_core.common.files import read_regular, write_whole
from lemore_core.common.limits import parse_json
from lemore_ros.bags.errors import BagError

FAILED = 4  # exit status
FIGURES = (
    *('agreement', 'mean_iou', 'pixel_accuracy', 'mean_accuracy', 'calibration_error'),
    *('left_unlabelled', 'mean_confidence', 'doubtful', 'flicker', 'latency_ms', 'frames'),
    *('familiarity', 'sureness', 'unfamiliar'),
)
BY_CLASS = 'iou', 'accuracy', 'class_shares'
NO_SHARES = 'latency_ms', 'frames'
CONDITION = re.compile(
    r'(?P<name>.+?)\s*(?P<sign><|>|\bdrops\s|\brises\s)\s*(?P<limit>\d+\.?\d*|\.\d+)(?P<unit>%?)'
)
EXAMPLES = "'agreement<0.97', 'iou.person drops 2' (points) or 'flicker rises 10%' (of its value)"
UNKNOWN = 'unknown here: it may need --ground-truth, a second side, or pixels of that class'


class Outcome(NamedTuple):
    """A condition, whether it holds (which is a failure), and its figure in words."""

    condition: str
    fails: bool
    figure: str


@dataclass(frozen=True)
class Condition:
    """A bound of a figure (``<``, ``>``), or of its change (``drops``, ``rises``).

    ``limit`` is in the figure's own unit; where ``is_relative``, a share of the figure before.
    """

    text: str
    name: str
    sign: str
    limit: float
    is_relative: bool = False

    @classmethod
    def parse(cls, text: str, classes: Sequence[str]) -> Condition:
        """Read a condition on figures of ``classes``."""
        found = CONDITION.fullmatch(text.strip())
        if found is None:
            msg = f'{text!r} is no condition such as {EXAMPLES}'
            raise BagError(msg)
        name, sign, unit = found['name'], found['sign'].strip(), found['unit']
        kind, _, one = name.partition('.')
        if name not in FIGURES and not (kind in BY_CLASS and one in classes):
            of = f'{", ".join(BY_CLASS)} with a class of {", ".join(classes)}: iou.{classes[0]}'
            msg = f'no figure is called {name!r}, there are {", ".join(FIGURES)}, and {of}'
            raise BagError(msg)
        is_change = sign in ('drops', 'rises')
        in_hundredths = unit or (is_change and name not in NO_SHARES)
        limit = float(found['limit']) / (100 if in_hundredths else 1)
        return cls(text.strip(), name, sign, limit, is_change and bool(unit))

    def check(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> Outcome:
        """Judge JSON values of evaluations; an unknown figure fails, as nobody knows that it is right."""
        new, old = self._figure(after), self._figure(before)
        if self.sign in '<>':
            fails = new < self.limit if self.sign == '<' else new > self.limit
            figure, needed = f'{self.name} is {new:g}', new
        else:
            change = new - old if self.sign == 'rises' else old - new
            # what was 0 has grown beyond every share of it
            limit = self.limit * abs(old) if self.is_relative else self.limit
            fails = change > limit + 1e-9
            figure, needed = f'{self.name} is {new:g}, it was {old:g}', new + old
        if math.isnan(needed):
            return Outcome(self.text, fails=True, figure=f'{self.name} is {UNKNOWN}')
        return Outcome(self.text, fails, figure)

    def _figure(self, values: Mapping[str, Any]) -> float:
        kind, _, one = self.name.partition('.')
        found = values.get(kind)
        found = found.get(one) if one and isinstance(found, dict) else found
        return float(found) if isinstance(found, int | float) else math.nan


def read_baseline(path: Path, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that ``lemore bag evaluate --json`` printed into a file."""
    try:
        values = dict(parse_json(read_regular(path)))
    except (OSError, TypeError, ValueError) as error:
        msg = f'{path} is no baseline, which lemore bag evaluate --json prints: {error}'
        raise BagError(msg) from error
    require_same(path, values, expected)
    return values


def require_same(path: Path, values: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse a baseline of another camera or of other classes."""
    for name, value in expected.items():
        if values.get(name) != value:
            what = f'the {name.replace("_", " ")} of the baseline {path} is {values.get(name)}'
            msg = f'{what}, here it is {value}: compare drives of one camera in the same classes'
            raise BagError(msg)


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


def write_junit(path: Path, outcomes: Sequence[Outcome], suite: str) -> None:
    """Write outcomes as a JUnit report, which continuous integration shows."""
    failures = sum(outcome.fails for outcome in outcomes)
    counts = {'tests': str(len(outcomes)), 'failures': str(failures), 'errors': '0'}
    root = ET.Element('testsuite', {'name': suite, **counts})
    for outcome in outcomes:
        case = ET.SubElement(root, 'testcase', classname=suite, name=outcome.condition)
        if outcome.fails:
            ET.SubElement(case, 'failure', message=outcome.figure)
        else:
            ET.SubElement(case, 'system-out').text = outcome.figure
    write_whole(path, ET.tostring(root, encoding='utf-8', xml_declaration=True))
