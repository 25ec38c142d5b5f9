"""``lemore research speed``."""

from __future__ import annotations

import argparse

from lemore_core.cli.train import add_run_arguments, planned_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run_arguments(parser, writes=False)
    parser.add_argument('--steps', type=int, default=20, help='batches to time')


def run(arguments: argparse.Namespace) -> None:
    """Print images a second of loading, of the training step, and of both together."""
    from lemore_core.research.training_speed import measure_speed

    planned = planned_run(arguments)
    speed = measure_speed(planned, arguments.steps)
    print(f'loading      {speed.loading:>8.1f} images/s, {planned.hardware.loaders} process(es)')
    print(f'step         {speed.step:>8.1f} images/s')
    print(f'together     {speed.together:>8.1f} images/s')
    print(f'epoch        {speed.epoch_seconds:>8.1f} s for {speed.images} images')
