"""``lemore train``."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemore_core.cli.arguments import duration

if TYPE_CHECKING:
    from lemore_core.training.start import Hardware, TrainingRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run_arguments(parser)
    text = 'validate on this drive, and train on all others of train and val'
    parser.add_argument('--hold-out', metavar='DRIVE', help=text)
    add_start_arguments(parser)
    text = 'continue the run in the output folder, also beyond its end with more iterations'
    parser.add_argument('--resume', action='store_true', help=text)
    text = 'do not read the whole data set before training'
    parser.add_argument('--no-check', action='store_true', help=text)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of :func:`planned_run`."""
    from lemore_core.training.recipe import RECIPES

    text = f'{", ".join(RECIPES)}, or the path of a .yaml file'
    parser.add_argument('--recipe', required=True, help=text)
    parser.add_argument('--data', type=Path, required=True, help='folder of the data set')
    parser.add_argument('--output', '-o', type=Path, required=True, help='folder of the run')
    parser.add_argument('--model', help="nano, tiny, small or base, instead of the recipe's")
    add_set_argument(parser)
    add_hardware_arguments(parser)


def add_start_arguments(parser: Any) -> None:
    """Declare ``--start`` and ``--time``."""
    text = 'checkpoint to start from: a shipped size, or a path; sets --model'
    parser.add_argument('--start', help=text)
    text = 'train for 90s, 30m or 2h in all, instead of iterations; one more validation follows'
    parser.add_argument('--time', type=duration, metavar='2h', help=text)


def add_set_argument(parser: Any) -> None:
    """Declare ``--set``."""
    text = 'fields of the recipe to change, such as learning_rate=1e-3 resize=480,360'
    parser.add_argument(
        '--set', nargs='+', default=[], action='extend', metavar='FIELD=VALUE', help=text
    )


def add_hardware_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of :func:`hardware`."""
    parser.add_argument('--accelerator', default='auto', choices=('auto', 'cpu', 'gpu'))
    parser.add_argument('--devices', type=int, default=1, help='processes on each machine')
    parser.add_argument('--num-nodes', type=int, default=1, help='machines')
    parser.add_argument('--workers', type=int, help='loading processes for each training process')


def hardware(arguments: argparse.Namespace) -> Hardware:
    """Return the hardware of a run."""
    from lemore_core.training.start import Hardware

    given = arguments
    return Hardware(given.accelerator, given.devices, given.num_nodes, given.workers)


def planned_run(arguments: argparse.Namespace, **options: Any) -> TrainingRun:
    """Return the run of a recipe; ``options`` are further fields of it."""
    from lemore_core.training.recipe import load_recipe, parse_changes
    from lemore_core.training.start import TrainingRun, starting_model

    changes, start = parse_changes(arguments.set), options.get('start')
    if start is not None:
        arguments.model = starting_model(start, arguments.model or changes.get('model'))
    for name in ('model', 'hold_out'):
        if getattr(arguments, name, None):
            changes[name] = getattr(arguments, name)
    recipe = load_recipe(arguments.recipe, changes)
    return TrainingRun(recipe, arguments.data, arguments.output, hardware(arguments), **options)


def run(arguments: argparse.Namespace) -> None:
    """Train, with a progress bar and a line for each validation."""
    from tqdm import tqdm

    from lemore_core.segmenter import resolve_checkpoint
    from lemore_core.training.run import train
    from lemore_core.training.task import STATE

    planned = planned_run(
        arguments,
        start=resolve_checkpoint(arguments.start) if arguments.start else None,
        resume=arguments.resume,
        check=not arguments.no_check,
        seconds=arguments.time,
    )
    try:
        train(planned, tqdm.write)
    except KeyboardInterrupt:
        if (arguments.output / STATE).is_file():
            words = [word for word in sys.argv[1:] if word != '--resume']
            print(f'resume with: lemore {shlex.join(words)} --resume', file=sys.stderr)
        raise
