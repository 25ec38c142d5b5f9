"""``lemore distill``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lemore_core.cli.arguments import duration, listed
from lemore_core.cli.train import add_hardware_arguments, hardware


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'inputs', nargs='+', type=Path, help='bags, videos, images or folders of images'
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
    choice = parser.add_argument_group('images')
    choice.add_argument(
        '--every', type=int, help='take every n-th; default 10 of videos and bags, else 1'
    )
    choice.add_argument(
        '--sharpness',
        type=float,
        default=0.25,
        help="leave out images of less than this share of their neighbours' sharpness, 0.25",
    )
    labels = parser.add_argument_group('labels')
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


def run(arguments: argparse.Namespace) -> None:
    """Distill, and say what came of it."""
    from tqdm import tqdm

    from lemore_core.distill.frames import FrameOptions
    from lemore_core.distill.labels import LabelOptions
    from lemore_core.distill.report import commands, judge
    from lemore_core.distill.run import REPORT, DistillRun, distill
    from lemore_core.evaluation.report import check_requirements
    from lemore_core.segmenter import resolve_checkpoint
    from lemore_core.training.recipe import parse_changes

    check_requirements()
    planned = DistillRun(
        resolve_checkpoint(arguments.teacher),
        tuple(arguments.inputs),
        arguments.output,
        classes=arguments.classes,
        hold_out=tuple(arguments.hold_out),
        frames=FrameOptions(arguments.every, arguments.sharpness),
        labels=LabelOptions(
            tuple(arguments.scales), not arguments.no_flip, arguments.min_probability
        ),
        recipe=arguments.recipe,
        changes={**parse_changes(arguments.set), 'model': arguments.model},
        start=resolve_checkpoint(arguments.start) if arguments.start else None,
        seconds=arguments.time,
        hardware=hardware(arguments),
    )
    try:
        distilled = distill(planned, tqdm.write)
    except (OSError, KeyboardInterrupt):
        print('what is done is kept: the same command goes on', file=sys.stderr)
        raise
    judgement = judge(distilled, arguments.output / REPORT)
    print(f'{"class":<18} agreement (IoU)')
    for name, iou in judgement.result.figures['iou'].items():
        print(f'{name:<18} {"-" if iou is None else f"{iou:.4f}"}')
    print(
        f'\nstudent {judgement.student_ms:.1f} ms, teacher {judgement.teacher_ms:.1f} ms an image: '
        f'{judgement.teacher_ms / judgement.student_ms:.1f} times as fast'
    )
    print('\n'.join([str(arguments.output / REPORT), *commands(distilled.student)]))
