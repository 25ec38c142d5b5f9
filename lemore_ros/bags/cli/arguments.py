"""Arguments shared by the commands that evaluate bags, and the evaluation that they describe."""

from __future__ import annotations

import argparse
import math
import sys
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
    from lemore_ros.bags.evaluation.image_sequence import ImageSequence
    from lemore_ros.bags.evaluation.label_sources import GroundTruth, LabelSource, ModelLabels

INCOMPLETE = 3
TOLERANCE_MS = 5.0
# explanations of figures on the terminal
EXPLAINED = {
    'doubtful': '  share of pixels of less than 50 % confidence',
    'flicker': '  share of pixels whose label differs from the frame before',
    'left_unlabelled': '  share of ground truth without a label',
    'agreement': '  share of pixels with the same label',
}


def add_arguments(parser: argparse.ArgumentParser, report_images: int) -> None:
    """Declare the model, the images to evaluate, and the results."""
    add_segmenter_arguments(parser)
    # without --model, labels in the bag come before the default model
    parser.set_defaults(model=None)
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
    group = parser.add_argument_group('results')
    group.add_argument('--report', type=Path, metavar='FILE.html', help='write a report')
    group.add_argument(
        '--report-images',
        type=int,
        default=report_images,
        metavar='N',
        help=f'show the N worst frames for each reason ({report_images})',
    )
    add_json_argument(parser)


def open_images(arguments: argparse.Namespace, masks: list[str]) -> ImageSequence:
    """Open the images of the arguments; topics called ``masks`` are no cameras.

    A missing package for the report is reported before the bag is read.
    """
    from lemore_ros.bags.evaluation.image_sequence import ImageSequence

    if arguments.report is not None:
        from lemore_core.evaluation.report import check_requirements

        check_requirements()
    return ImageSequence(
        arguments.images or arguments.bag,
        arguments.topic,
        masks=masks,
        start_s=arguments.skip,
        duration_s=arguments.duration,
        max_pixels=arguments.max_pixels,
    )


def open_model(arguments: argparse.Namespace, model: str) -> ModelLabels:
    """Load a model with the other arguments."""
    from lemore_ros.bags.evaluation.label_sources import ModelLabels

    return ModelLabels(load_segmenter(argparse.Namespace(**{**vars(arguments), 'model': model})))


def measure(
    arguments: argparse.Namespace,
    images: ImageSequence,
    source: LabelSource,
    reference: LabelSource | GroundTruth | None,
    facts: dict[str, str],
    names: tuple[str, str] | None = None,
) -> None:
    """Evaluate the labels; print the figures, and write the report.

    ``names`` are those of the reference and of the labels if two are compared. Exits with status 3
    if some images could not be read.
    """
    from tqdm import tqdm

    from lemore_core.evaluation.report import write_report
    from lemore_ros.bags.evaluation.evaluate import JudgedFrame, evaluate_drive
    from lemore_ros.bags.evaluation.image_sequence import UNREADABLE
    from lemore_ros.bags.evaluation.report import drive_report, worst_frames

    worst = worst_frames(arguments.report_images, source.taxonomy, names)
    expected = images.topic.count if images.is_whole else None
    with tqdm(total=expected, unit='frame', disable=None) as bar:

        def observe(frame: JudgedFrame) -> None:
            bar.update()
            if arguments.report is not None:
                worst(frame)

        evaluation = evaluate_drive(images, source, reference, observe)
    facts = {'bag': str(images.path), 'camera': images.topic.name, **facts}
    if images.damage:
        facts['damage'] = images.damage
    if arguments.report is not None:
        title = ' and '.join(names) if names else f'{source.name} on {arguments.bag.name}'
        report = drive_report(evaluation, worst.images, title=title, facts=facts, names=names)
        write_report(report, arguments.report)
        print(arguments.report, file=sys.stderr if arguments.json else sys.stdout)
    values = {**facts, **evaluation.to_dict()}
    if arguments.json:
        print_json(values)
    else:
        _print_figures(values)
    unreadable = images.error_counts[UNREADABLE]
    if images.damage:
        print(f'{images.path} is damaged: {images.damage}', file=sys.stderr)
    if unreadable:
        print(f'{images.path}: {unreadable} {UNREADABLE}', file=sys.stderr)
    if images.damage or unreadable:
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
    for key, value in {**values, **values['error_counts']}.items():
        if not isinstance(value, dict | list) and value is not None:
            print(f'{key:<22} {value}{EXPLAINED.get(key, "")}')
