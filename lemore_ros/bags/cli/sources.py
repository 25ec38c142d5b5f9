"""Arguments that the commands over labelled drives share, and what they describe."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemore_core.cli.arguments import add_segmenter_arguments, load_segmenter
from lemore_ros.bags.cli.segment import INCOMPLETE
from lemore_ros.bags.errors import BagError

if TYPE_CHECKING:
    from lemore_core.evaluation.report.content import Report
    from lemore_ros.bags.evaluation.drive import ImageSequence
    from lemore_ros.bags.evaluation.labellers import LabelSource

TOLERANCE_MS = 5.0
STDOUT = '-'


def add_drive_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which images are meant."""
    group = parser.add_argument_group('images')
    group.add_argument('--topic', default='', help='of the camera, if there are several')
    group.add_argument(
        '--images', type=Path, metavar='BAG', help='where they are, if IN has only results'
    )
    group.add_argument('--start', type=seconds, default=0.0, help='skip so many seconds')
    group.add_argument('--duration', type=seconds, help='take only so many seconds')
    group.add_argument(
        '--tolerance-ms',
        type=seconds,
        default=TOLERANCE_MS,
        metavar='MS',
        help=f'how far stamps that belong together may differ, {TOLERANCE_MS:g}',
    )


def add_labels_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the labels come from."""
    parser.add_argument(
        '--labels', metavar='TOPIC', help='take the labels of this topic of IN, predict nothing'
    )
    add_segmenter_arguments(parser)


def add_output_arguments(parser: argparse.ArgumentParser, images: int) -> None:
    """Declare the report and the JSON."""
    group = parser.add_argument_group('results')
    group.add_argument('--report', type=Path, metavar='FILE.html', help='write a report')
    group.add_argument(
        '--report-images',
        type=count,
        default=images,
        metavar='N',
        help=f'show the N worst frames for each reason, {images}',
    )
    group.add_argument('--json', metavar='FILE', help='write the figures as JSON, - to print them')


def open_drive(arguments: argparse.Namespace, path: Path) -> ImageSequence:
    """Open the drive that the arguments describe; ``path`` is where its images are.

    Raises:
        BagError: there is no such bag, or no such topic in it.

    """
    from lemore_ros.bags.evaluation.drive import ImageSequence

    named = [vars(arguments).get(name) or () for name in ('labels', 'truth')]
    return ImageSequence(
        arguments.images or path,
        arguments.topic,
        masks=[name for one in named for name in ([one] if isinstance(one, str) else one)],
        start_s=arguments.start,
        duration_s=arguments.duration,
    )


@contextmanager
def opened_labeller(arguments: argparse.Namespace, path: Path) -> Iterator[LabelSource]:
    """Open what labels the drive: the topic that was named, of the bag ``path``, or the model.

    Raises:
        LemoreError: there is no such topic or model, or nobody says what its labels mean.

    """
    from lemore_ros.bags.evaluation.labellers import ModelLabels, RecordedLabels

    labeller: LabelSource
    if arguments.labels is None:
        labeller = ModelLabels(load_segmenter(arguments))
    else:
        labeller = RecordedLabels(
            path, arguments.labels, arguments.dataset, tolerance_ns(arguments)
        )
    try:
        yield labeller
    finally:
        labeller.close()


def tolerance_ns(arguments: argparse.Namespace) -> int:
    """Return the tolerance between stamps that belong together."""
    milliseconds: float = arguments.tolerance_ms
    return round(milliseconds * 1e6)


@contextmanager
def counting(
    total: int | None, observe: Callable[[Any], None] | None = None
) -> Iterator[Callable[[Any], None]]:
    """Yield a function that moves a bar on the terminal at every call, and calls ``observe``."""
    from tqdm import tqdm

    with tqdm(total=total, unit='frame', disable=None) as bar:

        def step(item: Any) -> None:
            bar.update()
            if observe is not None:
                observe(item)

        yield step


def require_report_packages(arguments: argparse.Namespace) -> None:
    """Say at once that a report cannot be written, not after the whole drive.

    Raises:
        ReportError: a package is not installed.

    """
    if arguments.report is not None:
        from lemore_core.evaluation.report.build import check_requirements

        check_requirements()


def write_results(
    arguments: argparse.Namespace, values: dict[str, Any], report: Report | None
) -> None:
    """Write the JSON and the report that were asked for.

    Raises:
        BagError: the JSON cannot be written.
        ReportError: the report cannot be written.

    """
    if report is not None:
        from lemore_core.evaluation.report.build import write_report

        write_report(report, arguments.report)
    if arguments.json == STDOUT:
        print(json.dumps(values))
    elif arguments.json is not None:
        _write_json(Path(arguments.json), values)
    # the figures alone are on the standard output if they are printed there
    out = sys.stderr if arguments.json == STDOUT else sys.stdout
    if report is not None:
        print(arguments.report, file=out)


def print_figures(values: dict[str, Any]) -> None:
    """Print the figures that are single values, and those of groups."""
    for key, value in values.items():
        if isinstance(value, dict) and key in {'temporal', 'trouble'}:
            print_figures(value)
        elif not isinstance(value, dict | list) and value is not None:
            print(f'{key:<22} {value}')


def complain(drive: ImageSequence) -> None:
    """Say what of the drive could not be read, and exit with status 3 if there is any."""
    from lemore_ros.bags.evaluation.drive import UNREADABLE

    if drive.damage:
        print(f'{drive.path} is damaged: {drive.damage}', file=sys.stderr)
    if drive.trouble[UNREADABLE]:
        print(f'{drive.path}: {drive.trouble[UNREADABLE]} {UNREADABLE}', file=sys.stderr)
    if drive.damage or drive.trouble[UNREADABLE]:
        sys.exit(INCOMPLETE)


def seconds(text: str) -> float:
    """Read a number that is not negative."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        msg = f'{text!r} is no number of 0 or more'
        raise argparse.ArgumentTypeError(msg)
    return value


def count(text: str) -> int:
    """Read a number of images."""
    if not text.isdigit():
        msg = f'{text!r} is no number of images'
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    from lemore_core.system.files import atomic_write

    try:
        with atomic_write(path) as temporary:
            temporary.write_text(f'{json.dumps(values)}\n', encoding='utf-8')
    except OSError as error:
        msg = f'the figures cannot be written to {path}: {error.strerror}'
        raise BagError(msg) from error
