"""``lemore bag segment``.

Exit status: 0; 1 for a failure; 2 for wrong usage; 3 where the result is written but something of
the input could not be read or labelled, which is then counted and named; 130 when interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_ros.bags.cli.labelling import add_labelling_arguments, labelling_options
from lemore_ros.bags.errors import BagError

if TYPE_CHECKING:
    from lemore_ros.bags.segmentation.work import PartResult

INCOMPLETE = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('inputs', nargs='+', type=Path, metavar='IN', help='bags of any kind')
    parser.add_argument(
        '--output', '-o', type=Path, required=True, help='the new bag, or a folder for several'
    )
    parser.add_argument('--resume', action='store_true', help='go on with a run that broke off')
    spread = parser.add_mutually_exclusive_group()
    spread.add_argument('--workers', type=int, default=1, help='processes on this machine, 1')
    spread.add_argument('--ray', metavar='auto|ADDRESS', help='a Ray cluster to spread over')
    add_labelling_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the bags, with a progress bar."""
    from tqdm import tqdm

    from lemore_ros.bags.segmentation.run import Run, find_jobs

    if arguments.workers < 1:
        msg = f'workers is {arguments.workers}, allowed: 1 or more'
        raise BagError(msg)
    options = labelling_options(arguments)
    jobs = find_jobs(arguments.inputs, arguments.output, options)
    plan = Run(jobs, resume=arguments.resume)
    for note in plan.notes:
        print(f'lemore bag segment: {note}', file=sys.stderr)
    # a bar that is thrown away unclosed would be drawn once more
    with tqdm(
        desc='segmenting', total=plan.frames, initial=plan.made, unit='frame', disable=None
    ) as bar:
        results = plan.work(bar.update, workers=arguments.workers, ray=arguments.ray)
    incomplete = False
    for job, result in results:
        print(f'{job.output}: {result.frames} frames labelled')
        incomplete = _complain(job.source, result) or incomplete
    if incomplete:
        sys.exit(INCOMPLETE)


def _complain(source: Path, result: PartResult) -> bool:
    from lemore_ros.bags.io.read_errors import describe

    if result.read_errors:
        count = sum(result.read_errors.values())
        places = describe(list(result.read_errors))
        print(f'{source} is damaged, {count} messages known to be lost: {places}', file=sys.stderr)
    for reason, count in result.problems.items():
        print(f'{source}: {count} images are not labelled, {reason}', file=sys.stderr)
    return bool(result.read_errors or result.problems)
