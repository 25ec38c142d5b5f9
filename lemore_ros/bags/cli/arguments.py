"""Arguments shared by the commands that evaluate bags, and the objects they describe."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemore_core.cli.arguments import (
    add_json_argument,
    add_max_pixels_argument,
    add_segmenter_arguments,
    load_segmenter,
    print_json,
)

if TYPE_CHECKING:
    from lemore_core.evaluation.report import Report
    from lemore_ros.bags.evaluation.image_sequence import ImageSequence
    from lemore_ros.bags.evaluation.label_sources import LabelSource, ModelLabels

INCOMPLETE = 3
TOLERANCE_MS = 5.0
# explanations of figures on the terminal
EXPLAINED = {
    'doubtful': '  share of pixels of less than 50 % confidence',
    'flicker': '  share of pixels whose label differs from the frame before',
    'left_unlabelled': '  share of ground truth without a label',
    'agreement': '  share of pixels with the same label',
}


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the images to evaluate."""
    group = parser.add_argument_group('images')
    group.add_argument('--topic', default='', help='of the camera, if there are several')
    group.add_argument(
        '--images', type=Path, metavar='BAG', help='the bag with the images, if IN has only results'
    )
    group.add_argument(
        '--skip', type=seconds, default=0.0, help='seconds to leave out at the beginning'
    )
    group.add_argument('--duration', type=seconds, help='seconds to evaluate')
    group.add_argument(
        '--tolerance-ms',
        dest='tolerance_ns',
        type=lambda text: round(1e6 * seconds(text)),
        default=round(1e6 * TOLERANCE_MS),
        metavar='MS',
        help=f'largest difference of matching stamps ({TOLERANCE_MS:g})',
    )
    add_max_pixels_argument(group)


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the source of the labels."""
    parser.add_argument('--labels', metavar='TOPIC', help='take the labels of this topic of IN')
    add_segmenter_arguments(parser)
    # without --model, labels in the bag come before the default model
    parser.set_defaults(model=None)


def add_report_arguments(parser: argparse.ArgumentParser, images: int) -> None:
    """Declare the report and the JSON."""
    group = parser.add_argument_group('results')
    group.add_argument('--report', type=Path, metavar='FILE.html', help='write a report')
    group.add_argument(
        '--report-images',
        type=int,
        default=images,
        metavar='N',
        help=f'show the N worst frames for each reason ({images})',
    )
    add_json_argument(parser)


def open_images(arguments: argparse.Namespace) -> ImageSequence:
    """Open the images of the arguments."""
    from lemore_ros.bags.evaluation.image_sequence import ImageSequence

    named = [vars(arguments).get(name) or () for name in ('labels', 'ground_truth')]
    return ImageSequence(
        arguments.images or arguments.bag,
        arguments.topic,
        masks=[name for one in named for name in ([one] if isinstance(one, str) else one)],
        start_s=arguments.skip,
        duration_s=arguments.duration,
        max_pixels=arguments.max_pixels,
    )


@contextmanager
def opened_labels(arguments: argparse.Namespace) -> Iterator[LabelSource]:
    """Open the named topic or model, or else the labels in the bag, or else the default model."""
    from lemore_ros.bags.evaluation.label_sources import RecordedLabels, label_topic_of

    topic = arguments.labels
    if topic is None and arguments.model is None:
        topic = label_topic_of(arguments.bag, vars(arguments).get('ground_truth') or '')
    source: LabelSource
    if topic is None:
        source = open_model(arguments, arguments.model or 'tiny')
    else:
        source = RecordedLabels(arguments.bag, topic, arguments.dataset, arguments.tolerance_ns)
    is_json = vars(arguments).get('json', False)
    print(source.description, file=sys.stderr if is_json else sys.stdout)
    try:
        yield source
    finally:
        source.close()


def open_model(arguments: argparse.Namespace, model: str) -> ModelLabels:
    """Load a model with the other arguments."""
    from lemore_ros.bags.evaluation.label_sources import ModelLabels

    return ModelLabels(load_segmenter(argparse.Namespace(**{**vars(arguments), 'model': model})))


@contextmanager
def progress(
    total: int | None, on_frame: Callable[[Any], None] | None = None
) -> Iterator[Callable[[Any], None]]:
    """Yield a function that advances a progress bar and calls ``on_frame``."""
    from tqdm import tqdm

    with tqdm(total=total, unit='frame', disable=None) as bar:

        def step(item: Any) -> None:
            bar.update()
            if on_frame is not None:
                on_frame(item)

        yield step


def require_report_packages(arguments: argparse.Namespace) -> None:
    """Check the packages for a report before the bag is read."""
    if arguments.report is not None:
        from lemore_core.evaluation.report import check_requirements

        check_requirements()


def write_results(
    arguments: argparse.Namespace, values: dict[str, Any], report: Report | None
) -> None:
    """Write the report, and print the figures as JSON or one a line."""
    if report is not None:
        from lemore_core.evaluation.report import write_report

        write_report(report, arguments.report)
        print(arguments.report, file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print_json(values)
    else:
        _print_figures(values)


def exit_if_incomplete(images: ImageSequence) -> None:
    """Report the images that could not be read, and exit with status 3 if there are any."""
    from lemore_ros.bags.evaluation.image_sequence import UNREADABLE

    if images.damage:
        print(f'{images.path} is damaged: {images.damage}', file=sys.stderr)
    if images.error_counts[UNREADABLE]:
        print(f'{images.path}: {images.error_counts[UNREADABLE]} {UNREADABLE}', file=sys.stderr)
    if images.damage or images.error_counts[UNREADABLE]:
        sys.exit(INCOMPLETE)


def seconds(text: str) -> float:
    """Parse a number of 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        msg = f'{text!r} is no number of 0 or more'
        raise argparse.ArgumentTypeError(msg)
    return value


def _print_figures(values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and key == 'error_counts':
            _print_figures(value)
        elif not isinstance(value, dict | list) and value is not None:
            print(f'{key:<22} {value}{EXPLAINED.get(key, "")}')
