"""``lemore bag segment``.

Exit status: 0; 1 for a failure; 2 for wrong usage; 3 if the result is written but some of the input
could not be read or segmented, which is counted and named; 130 when interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemore_core.cli.arguments import add_segmenter_arguments, listed, requested_size
from lemore_core.common.errors import counted
from lemore_core.common.validation import entries
from lemore_ros.bags.cli.arguments import INCOMPLETE
from lemore_ros.bags.errors import BagError, describe
from lemore_ros.bags.options import ModelOptions, SegmentOptions

if TYPE_CHECKING:
    from lemore_ros.bags.segment import PartResult

# the others are shared by all commands that load a network
LABEL_OPTIONS = ('batch', 'min_confidence', 'class_groups', 'output_size')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('inputs', nargs='+', type=Path, metavar='IN', help='bags of any kind')
    parser.add_argument(
        '--output', '-o', type=Path, required=True, help='the new bag, or a folder for several'
    )
    parser.add_argument('--resume', action='store_true', help='resume an interrupted run')
    parser.add_argument('--workers', type=int, default=1, help='processes (1)')
    names = [name for name in entries(SegmentOptions) if name != 'model']
    _add_options(parser.add_argument_group('images and output'), SegmentOptions, names)
    add_segmenter_arguments(parser)
    _add_options(parser.add_argument_group('labels'), ModelOptions, LABEL_OPTIONS)


def run(arguments: argparse.Namespace) -> None:
    """Write the bags, with a progress bar."""
    from tqdm import tqdm

    from lemore_ros.bags.parts import BagSegmentation, find_jobs

    if arguments.workers < 1:
        msg = f'workers is {arguments.workers}, allowed: 1 or more'
        raise BagError(msg)
    jobs = find_jobs(arguments.inputs, arguments.output, segment_options(arguments))
    segmentation = BagSegmentation(jobs, resume=arguments.resume)
    for note in segmentation.notes:
        print(f'lemore bag segment: {note}', file=sys.stderr)
    started = time.perf_counter()
    # an unclosed bar would be drawn once more
    with tqdm(
        desc='segmenting',
        total=segmentation.frames,
        initial=segmentation.resumed,
        unit='image',
        disable=None,
    ) as bar:
        try:
            results = segmentation.segment(bar.update, workers=arguments.workers)
        except KeyboardInterrupt:
            done = counted(int(bar.n), 'image')
            bar.close()
            print(f'interrupted after {done}: resume with --resume', file=sys.stderr)
            raise
    for job, result in results:
        print(f'{job.output}: {counted(result.frames, "image")} segmented')
    print(f'in {time.perf_counter() - started:.1f} s')
    incomplete = [_report_losses(job.source, result) for job, result in results]
    if any(incomplete):
        sys.exit(INCOMPLETE)


def segment_options(arguments: argparse.Namespace) -> SegmentOptions:
    """Return the options of the arguments."""
    given = vars(arguments)
    names = entries(ModelOptions).keys() & given.keys() - {'size'}
    model = {name: given[name] for name in names}
    for name in ('model', 'dataset', 'class_groups'):
        if Path(model[name]).suffix:
            # paths, not names, must not depend on the working directory
            model[name] = str(Path(model[name]).resolve())
    own = {name: given[name] for name in entries(SegmentOptions) if name != 'model'}
    for name in ('topic', 'outputs'):
        own[name] = tuple(own[name])
    return SegmentOptions(ModelOptions(size=requested_size(arguments), **model), **own)


def _add_options(group: Any, kind: type, names: Sequence[str]) -> None:
    """Declare an argument for each field; the dataclass checks the values."""
    defaults = kind()
    for name in names:
        entry, default = entries(kind)[name], getattr(defaults, name)
        flag, text = f'--{name.replace("_", "-")}', entry.text
        if isinstance(default, bool):
            group.add_argument(flag, action='store_true', help=text)
        elif isinstance(default, tuple):
            shown = f' ({",".join(default)})' if default else ''
            text = f'{text}, with commas between{shown}'
            group.add_argument(flag, type=listed(str), default=default, metavar='A,B', help=text)
        else:
            shown = '' if default in ('', float('inf')) else f' ({default})'
            group.add_argument(flag, type=type(default), default=default, help=f'{text}{shown}')


def _report_losses(source: Path, result: PartResult) -> bool:
    if result.read_errors:
        count, places = sum(result.read_errors.values()), describe(result.read_errors)
        print(
            f'{source} is damaged, {counted(count, "message")} known to be lost: {places}',
            file=sys.stderr,
        )
    for reason, count in result.problems.items():
        verb = 'is' if count == 1 else 'are'
        print(
            f'{source}: {counted(count, "image")} {verb} not segmented, {reason}', file=sys.stderr
        )
    return bool(result.read_errors or result.problems)
