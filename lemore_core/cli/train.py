"""``lemore train``."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemore_core.cli.arguments import duration
from lemore_core.common.errors import LemoreError

if TYPE_CHECKING:
    from lemore_core.training.recipe import Recipe
    from lemore_core.training.start import TrainingRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from lemore_core.training.recipe import RECIPES

    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--recipe', help=f'{", ".join(RECIPES)}, or the path of a .yaml file')
    what.add_argument(
        '--reproduce', metavar='CHECKPOINT', help='start the run that made a checkpoint'
    )
    add_recipe_arguments(parser)
    parser.add_argument(
        '--hold-out',
        metavar='DRIVE',
        help='validate on this drive, and train on all others of train and val',
    )
    parser.add_argument('--start', help='checkpoint to start from: a shipped size, or a path')
    parser.add_argument('--teacher', type=Path, help='ONNX or TorchScript network to learn from')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on with the run in the output folder, also beyond its end with more iterations',
    )
    parser.add_argument(
        '--no-check', action='store_true', help='do not read the whole data set before training'
    )
    parser.add_argument(
        '--time',
        type=duration,
        metavar='2h',
        help='train for so long in all (90s, 30m, 2h), instead of the iterations of the recipe',
    )
    add_hardware_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser, *, writes: bool = True) -> None:
    """Declare what :func:`planned_run` reads."""
    from lemore_core.training.recipe import RECIPES

    parser.add_argument(
        '--recipe', required=True, help=f'{", ".join(RECIPES)}, or the path of a .yaml file'
    )
    add_recipe_arguments(parser, writes=writes)
    add_hardware_arguments(parser)


def planned_run(arguments: argparse.Namespace) -> TrainingRun:
    """Return the run of a recipe that the arguments describe."""
    from lemore_core.training.start import TrainingRun

    output = getattr(arguments, 'output', Path())
    return TrainingRun(recipe(arguments), arguments.data, output, hardware(arguments))


def add_recipe_arguments(parser: argparse.ArgumentParser, *, writes: bool = True) -> None:
    """Declare what a run of any recipe needs, and what :func:`recipe` reads."""
    parser.add_argument('--data', type=Path, required=True, help='folder of the data set')
    if writes:
        parser.add_argument('--output', '-o', type=Path, required=True, help='folder of the run')
    parser.add_argument('--model', help="nano, tiny, small or base, instead of the recipe's")
    parser.add_argument(
        '--set',
        nargs='+',
        default=[],
        action='extend',
        metavar='FIELD=VALUE',
        help='fields of the recipe to change, such as learning_rate=1e-3 iterations=20000',
    )


def add_hardware_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`hardware` reads."""
    parser.add_argument('--accelerator', default='auto', choices=('auto', 'cpu', 'gpu'))
    parser.add_argument('--devices', type=int, default=1, help='processes on each machine')
    parser.add_argument('--num-nodes', type=int, default=1, help='machines')
    parser.add_argument('--workers', type=int, help='loading processes for each training process')


def hardware(arguments: argparse.Namespace) -> Any:
    """Return the :class:`lemore_core.training.start.Hardware` that the arguments describe."""
    from lemore_core.training.start import Hardware

    return Hardware(
        arguments.accelerator, arguments.devices, arguments.num_nodes, arguments.workers
    )


def run(arguments: argparse.Namespace) -> None:
    """Train, with a progress bar and a line for each validation."""
    from tqdm import tqdm

    from lemore_core.segmenter import resolve_checkpoint
    from lemore_core.training.callbacks import STATE
    from lemore_core.training.run import train
    from lemore_core.training.start import TrainingRun, reproduced

    start = resolve_checkpoint(arguments.start) if arguments.start else None
    if arguments.reproduce is not None:
        if arguments.hold_out:
            msg = '--reproduce takes the drive that was held out from the checkpoint: give one of the two'
            raise LemoreError(msg)
        checkpoint = resolve_checkpoint(arguments.reproduce)
        planned = reproduced(checkpoint, start, arguments.teacher)
    else:
        planned = recipe(arguments)
    run = TrainingRun(
        planned,
        arguments.data,
        arguments.output,
        hardware(arguments),
        start=start,
        teacher=arguments.teacher,
        resume=arguments.resume,
        check=not arguments.no_check,
        seconds=arguments.time,
    )
    try:
        train(run, tqdm.write)
    except KeyboardInterrupt:
        if (arguments.output / STATE).is_file():
            words = [word for word in sys.argv[1:] if word != '--resume']
            print(f'go on with: lemore {shlex.join(words)} --resume', file=sys.stderr)
        raise


def recipe(arguments: argparse.Namespace) -> Recipe:
    """Return the recipe that the arguments name, with their changes.

    Raises:
        RecipeError: see :func:`lemore_core.training.recipe.load_recipe`.
    """
    from lemore_core.training.recipe import load_recipe, parse_changes

    changes = parse_changes(arguments.set)
    if arguments.model:
        changes['model'] = arguments.model
    if getattr(arguments, 'hold_out', None):
        changes['hold_out'] = arguments.hold_out
    return load_recipe(arguments.recipe, changes)
