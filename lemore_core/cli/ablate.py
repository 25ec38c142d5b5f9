"""``lemore ablate``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lemore_core.cli.train import add_machine_arguments, add_recipe_arguments, machine, recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from lemore_core.training.recipe import RECIPES

    parser.add_argument(
        '--recipe', required=True, help=f'{", ".join(RECIPES)}, or the path of a .yaml file'
    )
    add_recipe_arguments(parser)
    parser.add_argument(
        '--rows', nargs='+', metavar='ROW', help='rows of the table, all by default'
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='seeds of each row')
    parser.add_argument('--json', action='store_true', help='print JSON')
    add_machine_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train every row and print the table."""
    from tqdm import tqdm

    from lemore_core.training.ablation import ablate
    from lemore_core.training.run import Run

    plan = Run(recipe(arguments), arguments.data, Path(arguments.output), machine(arguments))
    rows = list(ablate(plan, arguments.rows, arguments.seeds, tqdm.write))
    if arguments.json:
        print(json.dumps([row.to_dict() for row in rows]))
        return
    print('| parts | parameters | GFLOPs | mIoU % |\n| --- | --- | --- | --- |')
    for row in rows:
        scores = ', '.join(f'{100 * score:.2f}' for score in row.mean_ious)
        print(f'| {row.name} | {row.parameters / 1e6:.3f} M | {row.gflops:.3f} | {scores} |')
