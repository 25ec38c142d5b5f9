"""``lemore bag segment``.

Exit status: 0; 1 for a failure; 2 for wrong usage; 3 if the result is written but some of the input
could not be read or segmented, which is counted and named; 130 when interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.cli.arguments import SEGMENTER, count, declare, listed, requested_size
from lemore_core.common.errors import counted
from lemore_core.common.files import hold
from lemore_core.common.validation import entries
from lemore_core.segmenter_options import SegmenterOptions
from lemore_ros.bags.errors import INCOMPLETE, ReadErrors
from lemore_ros.bags.options import SegmentOptions

if TYPE_CHECKING:
    from lemore_ros.bags.segment import PartResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; the dataclass of the options checks their values."""
    add = parser.add_argument
    add('inputs', nargs='+', type=Path, metavar='IN', help='bags of any kind')
    add('--output', '-o', type=Path, required=True, help='the new bag, or a folder for several')
    add('--resume', action='store_true', help='resume an interrupted run')
    add('--workers', type=count, default=1, help='processes (1)')
    declare(parser, *SEGMENTER)
    group, defaults = parser.add_argument_group('images and output'), SegmentOptions()
    for name, entry in entries(SegmentOptions).items():
        if name in entries(SegmenterOptions) and name != 'batch':
            continue
        default, text = getattr(defaults, name), entry.text
        flag = f'--{name.replace("_", "-")}'
        if isinstance(default, bool):
            group.add_argument(flag, action='store_true', help=text)
        elif isinstance(default, tuple):
            shown = f' ({",".join(default)})' if default else ''
            text = f'{text}, with commas between{shown}'
            group.add_argument(flag, type=_texts, default=default, metavar='A,B', help=text)
        else:
            shown = '' if default in ('', float('inf')) else f' ({default})'
            group.add_argument(flag, type=type(default), default=default, help=f'{text}{shown}')


def run(arguments: argparse.Namespace) -> None:
    """Write the bags, with a progress bar."""
    output = arguments.output
    is_one = len(arguments.inputs) == 1
    with hold(output.parent / f'.{output.name}.part' if is_one else output):
        _segment(arguments)


def _segment(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from lemore_ros.bags.parts import BagSegmentation

    inputs, output, options = arguments.inputs, arguments.output, segment_options(arguments)
    segmentation = BagSegmentation(inputs, output, options, resume=arguments.resume)
    for note in segmentation.notes:
        print(f'lemore bag segment: {note}', file=sys.stderr)
    started = time.perf_counter()
    # an unclosed bar would be drawn once more
    total, resumed = segmentation.frames, segmentation.resumed
    try:
        with tqdm(None, 'segmenting', total, initial=resumed, unit='image', disable=None) as bar:
            try:
                segmentation.segment(bar.update, workers=arguments.workers)
            except KeyboardInterrupt:
                done = counted(int(bar.n), 'image')
                bar.close()
                print(f'interrupted after {done}: resume with --resume', file=sys.stderr)
                raise
    finally:  # complete bags are not looked at again when the run is resumed
        for _, output, result in segmentation.results:
            print(f'{output}: {counted(result.frames, "image")} segmented')
        incomplete = [_report_losses(source, result) for source, _, result in segmentation.results]
        left_out = segmentation.left_out
        print(*left_out, sep='\n', end='\n' * bool(left_out), file=sys.stderr)
    print(f'in {time.perf_counter() - started:.1f} s')
    if any(incomplete) or left_out:
        sys.exit(INCOMPLETE)


def segment_options(arguments: argparse.Namespace) -> SegmentOptions:
    """Return the options of the arguments."""
    given = vars(arguments) | {'size': requested_size(arguments)}
    values = {name: given[name] for name in entries(SegmentOptions).keys() & given.keys()}
    for name in ('model', 'dataset', 'class_groups'):
        if Path(values[name]).suffix:
            # paths, not names, must not depend on the working directory
            values[name] = str(Path(values[name]).resolve())
    return SegmentOptions(**values)


def _texts(text: str) -> tuple[str, ...]:
    return tuple(listed(str)(text))


def _report_losses(source: Path, result: PartResult) -> bool:
    if result.read_errors:
        errors = ReadErrors(result.read_errors)
        lost = counted(errors.messages, 'message')
        print(f'{source} is damaged, {lost} known to be lost: {errors}', file=sys.stderr)
    for reason, number in result.problems.items():
        images = f'{counted(number, "image")} {"is" if number == 1 else "are"}'
        print(f'{source}: {images} not segmented, {reason}', file=sys.stderr)
    return bool(result.read_errors or result.problems)
