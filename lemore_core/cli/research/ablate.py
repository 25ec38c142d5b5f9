"""``lemore research ablate``."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from lemore_core.cli.arguments import add_json_argument, print_json
from lemore_core.cli.train import (
    add_hardware_arguments,
    add_named_recipe_argument,
    add_recipe_arguments,
    hardware,
    recipe,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_named_recipe_argument(parser)
    add_recipe_arguments(parser)
    parser.add_argument(
        '--rows', nargs='+', metavar='ROW', help='rows of the table, all by default'
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='seeds of each row')
    add_json_argument(parser)
    add_hardware_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train every row and print the table."""
    from tqdm import tqdm

    from lemore_core.research.ablation import ablate
    from lemore_core.training.run import TrainingRun

    plan = TrainingRun(
        recipe(arguments), arguments.data, Path(arguments.output), hardware(arguments)
    )
    rows = list(ablate(plan, arguments.rows, arguments.seeds, partial(tqdm.write, file=sys.stderr)))
    if arguments.json:
        print_json([row.to_dict() for row in rows])
        return
    print('| parts | parameters | GFLOPs | mIoU % |\n| --- | --- | --- | --- |')
    for row in rows:
        scores = ', '.join(f'{100 * score:.2f}' for score in row.mean_ious)
        print(f'| {row.name} | {row.parameters / 1e6:.3f} M | {row.gflops:.3f} | {scores} |')
