"""``lemore cross-validate``."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from lemore_core.cli.arguments import declare, print_json
from lemore_core.cli.train import add_run_arguments, planned_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run_arguments(parser)
    declare(parser, 'json')


def run(arguments: argparse.Namespace) -> None:
    """Train without each drive, and print each fold and the mean."""
    from tqdm import tqdm

    from lemore_core.training.run import cross_validate

    folds = list(cross_validate(planned_run(arguments), partial(tqdm.write, file=sys.stderr)))
    mean = sum(fold['figures']['mean_iou'] for fold in folds) / len(folds)
    if arguments.json:
        print_json({'folds': folds, 'mean_iou': mean})
        return
    print('| held-out drive | images | mIoU % | pixel accuracy % |\n| --- | --- | --- | --- |')
    for fold in folds:
        iou, accuracy = (100 * fold['figures'][key] for key in ('mean_iou', 'pixel_accuracy'))
        print(f'| {fold["drive"]} | {fold["images"]} | {iou:.2f} | {accuracy:.2f} |')
    print(f'| mean | {sum(fold["images"] for fold in folds)} | {100 * mean:.2f} | |')
