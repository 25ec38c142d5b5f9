"""``lemore research pretrain``."""

from __future__ import annotations

import argparse

from lemore_core.cli.train import (
    add_hardware_arguments,
    add_recipe_arguments,
    add_start_arguments,
    hardware,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_recipe_arguments(parser)
    add_start_arguments(parser)
    add_hardware_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Pre-train, with a progress bar and a line for each validation."""
    from tqdm import tqdm

    from lemore_core.training.pretraining.recipe import load_pretrain_recipe
    from lemore_core.training.pretraining.run import PretrainRun, pretrain
    from lemore_core.training.recipe import parse_changes

    changes = parse_changes(arguments.set)
    if arguments.model:
        changes['model'] = arguments.model
    plan = PretrainRun(
        load_pretrain_recipe(changes),
        arguments.data,
        arguments.output,
        hardware(arguments),
        resume=arguments.resume,
        check=not arguments.no_check,
    )
    pretrain(plan, tqdm.write)
