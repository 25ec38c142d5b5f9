"""``lemore distill``."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from lemore_core.cli import train
from lemore_core.cli.arguments import listed
from lemore_core.cli.evaluate import measure, print_result

if TYPE_CHECKING:
    from lemore_core.distill import DistillRun
    from lemore_core.segmenter import Segmenter

WORST_IMAGES = 24  # in the report
TIMED = 5  # calls of student and teacher


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('inputs', nargs='*', help='bags, videos, images or folders of images')
    text = 'YAML file of further inputs, with their licences and repositories for the card'
    parser.add_argument('--sources', type=Path, metavar='FILE', help=text)
    text = 'checkpoint, or .onnx file that lemore import wrote'
    parser.add_argument('--teacher', required=True, help=text)
    text = 'folder; what is in it is used again'
    parser.add_argument('--output', '-o', type=Path, required=True, help=text)
    text = "YAML file of class groups: merges the teacher's classes"
    parser.add_argument('--class-groups', '--classes', default='', help=text)
    text = 'measure on it (repeat); default the last drives'
    parser.add_argument('--hold-out', action='append', default=[], metavar='DRIVE', help=text)
    text = 'take every n-th image; default 10 of videos and bags, else 1'
    parser.add_argument('--every', type=int, help=text)
    labels = parser.add_argument_group('labels')
    text = "widths at which the teacher sees images, such as 960,1280; default its file's size"
    labels.add_argument('--sizes', type=listed(int), default=[], help=text)
    labels.add_argument('--no-flip', action='store_true', help='no mirror images: twice as fast')
    text = 'pixels below it get no label, 0.5'
    labels.add_argument('--min-probability', type=float, default=0.5, help=text)
    training = parser.add_argument_group('training')
    training.add_argument('--model', help='nano (the default), tiny, small or base')
    train.add_start_arguments(training)
    text = 'name, or path of a .yaml file'
    training.add_argument('--recipe', default='folder_distill', help=text)
    train.add_set_argument(training)
    train.add_hardware_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Distil, and print how far the student agrees, and the commands that run it."""
    from tqdm import tqdm

    from lemore_core.data.datasets import OWN, open_dataset
    from lemore_core.distill import distill
    from lemore_core.evaluation.report import check_requirements
    from lemore_core.evaluation.strategies import SingleScale
    from lemore_core.segmenter import Segmenter

    check_requirements()
    planned = _planned(arguments)
    try:
        student = distill(planned, tqdm.write).resolve()
    except (OSError, KeyboardInterrupt):
        print('finished files are kept: run the same command to continue', file=sys.stderr)
        raise
    segmenter, page = Segmenter.load(student), arguments.output / 'report.html'
    samples = open_dataset(OWN, arguments.output / 'data').samples('val')
    facts = {
        'model': segmenter.card.name,
        'dataset': f'the labels of {planned.teacher.path.name}',
        'split': f'for {len(samples)} images that were held out',
        'speed': _speed(segmenter, planned.teacher.segmenter, samples[0].image),
        'licence': segmenter.card.licence,
    }
    result = measure(SingleScale(segmenter), samples, facts, page, WORST_IMAGES, 'teacher')
    print_result(facts, result, page)
    print(
        f'lemore predict IMAGES --model {student} --output out/predict\n'
        f'lemore benchmark --models {student},{planned.teacher.path}\n'
        'ros2 launch lemore_ros segmentation.launch.py image_topic:=/camera/image_raw '
        f'model:={student}'
    )


def _speed(student: Segmenter, teacher: Segmenter, path: Path) -> str:
    """Return how long both take from an image to its labels, each at its own size."""
    from lemore_core.benchmark import interleaved
    from lemore_core.images.files import read_image

    image = read_image(path)
    calls = {each: partial(each.segment, image) for each in (student, teacher)}
    timed = interleaved(calls, range(TIMED))
    own, others = (median(ms for ms, _ in timed[each]) for each in (student, teacher))
    return f'{others / own:.1f} times that of the teacher: {own:.1f} ms an image, not {others:.1f}'


def _planned(arguments: argparse.Namespace) -> DistillRun:
    """Return the run of the options; the start sets the model's size."""
    from lemore_core.data.origin import ImageSource, read_origin
    from lemore_core.distill import DistillError, DistillRun
    from lemore_core.segmenter import resolve_checkpoint
    from lemore_core.teacher import Teacher
    from lemore_core.training.recipe import parse_changes
    from lemore_core.training.start import starting_model

    named = read_origin(arguments.sources).sources if arguments.sources else ()
    inputs = (*named, *map(ImageSource, arguments.inputs))
    if not inputs:
        msg = 'there are no images: give bags, videos or folders, or --sources'
        raise DistillError(msg)
    start = resolve_checkpoint(arguments.start) if arguments.start else None
    changes = parse_changes(arguments.set)
    model = arguments.model or changes.get('model')
    changes['model'] = (starting_model(start, model) if start else model) or 'nano'
    return DistillRun(
        Teacher(
            resolve_checkpoint(arguments.teacher),
            arguments.class_groups,
            tuple(arguments.sizes),
            not arguments.no_flip,
            arguments.min_probability,
        ),
        inputs,
        arguments.output,
        hold_out=tuple(arguments.hold_out),
        every=arguments.every,
        recipe=arguments.recipe,
        changes=changes,
        start=start,
        seconds=arguments.time,
        hardware=train.hardware(arguments),
    )
