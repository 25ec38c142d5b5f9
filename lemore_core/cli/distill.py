"""``lemore distill``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lemore_core.cli.arguments import duration, listed
from lemore_core.cli.train import add_hardware_arguments, hardware


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('inputs', nargs='*', help='bags, videos, images or folders of images')
    parser.add_argument(
        '--sources',
        type=Path,
        metavar='FILE',
        help='YAML file of further inputs, with their licences and repositories for the card',
    )
    parser.add_argument(
        '--teacher', required=True, help='checkpoint, or .onnx file that lemore import wrote'
    )
    parser.add_argument(
        '--output', '-o', type=Path, required=True, help='folder; what is in it is used again'
    )
    parser.add_argument(
        '--classes', default='', help="YAML file of class groups: merges the teacher's classes"
    )
    parser.add_argument(
        '--hold-out', action='append', default=[], metavar='DRIVE', help='measure on it (repeat)'
    )
    parser.add_argument(
        '--every', type=int, help='take every n-th image; default 10 of videos and bags, else 1'
    )
    labels = parser.add_argument_group('labels')
    labels.add_argument(
        '--sizes',
        type=listed(int),
        default=[],
        help='widths at which the teacher sees whole images, such as 960,1280; instead of --scales',
    )
    labels.add_argument(
        '--scales', type=listed(float), default=[1.0, 1.5], help='of the views, such as 1,1.5,2'
    )
    labels.add_argument('--no-flip', action='store_true', help='no mirror images: twice as fast')
    labels.add_argument(
        '--min-probability', type=float, default=0.5, help='pixels below it get no label, 0.5'
    )
    training = parser.add_argument_group('training')
    training.add_argument('--model', default='nano', help='nano, tiny, small or base')
    training.add_argument('--time', type=duration, metavar='30m', help='train for so long in all')
    training.add_argument('--start', help='a shipped size or a checkpoint to start from')
    training.add_argument(
        '--recipe', default='folder_distill', help='name, or path of a .yaml file'
    )
    training.add_argument(
        '--set', nargs='+', default=[], action='extend', metavar='FIELD=VALUE', help='of the recipe'
    )
    add_hardware_arguments(parser)
    truth = parser.add_argument_group('report', 'student beside teacher')
    truth.add_argument(
        '--truth', type=Path, metavar='DATA', help='judge both by a labelled data set'
    )
    truth.add_argument('--truth-dataset', default='folder', metavar='NAME', help='folder')
    truth.add_argument('--truth-split', default='val', metavar='SPLIT', help='val')
    truth.add_argument('--map', default='', metavar='FILE', help='as for lemore evaluate --map')


def run(arguments: argparse.Namespace) -> None:
    """Distil, and print student beside teacher and the commands that run the student."""
    from tqdm import tqdm

    from lemore_core.data.origin import ImageSource, read_origin
    from lemore_core.distill import REPORT, DistillError, DistillRun, Truth, distill
    from lemore_core.evaluation.report import check_requirements
    from lemore_core.segmenter import resolve_checkpoint
    from lemore_core.teacher import Teacher
    from lemore_core.training.recipe import parse_changes

    check_requirements()
    named = read_origin(arguments.sources).sources if arguments.sources else ()
    inputs = (*named, *map(ImageSource, arguments.inputs))
    if not inputs:
        msg = 'there are no images: give bags, videos or folders, or --sources'
        raise DistillError(msg)
    truth = None
    if arguments.truth:
        split = arguments.truth_split
        truth = Truth(arguments.truth, arguments.truth_dataset, split, arguments.map)
        truth.samples()  # refused before the training
    planned = DistillRun(
        Teacher(
            resolve_checkpoint(arguments.teacher),
            arguments.classes,
            tuple(arguments.sizes),
            tuple(arguments.scales),
            not arguments.no_flip,
            arguments.min_probability,
        ),
        inputs,
        arguments.output,
        hold_out=tuple(arguments.hold_out),
        every=arguments.every,
        recipe=arguments.recipe,
        changes={**parse_changes(arguments.set), 'model': arguments.model},
        start=resolve_checkpoint(arguments.start) if arguments.start else None,
        truth=truth,
        seconds=arguments.time,
        hardware=hardware(arguments),
    )
    try:
        student, comparison = distill(planned, tqdm.write)
    except (OSError, KeyboardInterrupt):
        print('finished files are kept: run the same command to continue', file=sys.stderr)
        raise
    print(comparison)
    student = student.resolve()
    print(
        f'\n{arguments.output / REPORT}\n'
        f'lemore predict IMAGES --model {student} --output out/predict\n'
        f'lemore benchmark --models {student},{planned.teacher.path}\n'
        'ros2 launch lemore_ros segmentation.launch.py image_topic:=/camera/image_raw '
        f'model:={student}'
    )
