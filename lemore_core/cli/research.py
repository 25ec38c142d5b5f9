"""``lemore research``: what the authors of a network ask of it."""

from __future__ import annotations

import argparse

from lemore_core.cli.arguments import (
    add_json_argument,
    add_model_arguments,
    count,
    require_packages,
)
from lemore_core.cli.benchmark import add_image_argument, print_rows
from lemore_core.cli.train import add_run_arguments, planned_run

COMMANDS = {
    'speed': 'time loading against the training step',
    'decoding': 'time decoding to many classes, against torch and the network',
    'folding': 'time what folding makes of the network',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    subparsers = parser.add_subparsers(dest='what', required=True, metavar='command')
    speed, decoding, folding = (
        subparsers.add_parser(name, help=summary, description=summary)
        for name, summary in COMMANDS.items()
    )
    add_run_arguments(speed, writes=False)
    speed.add_argument('--steps', type=int, default=20, help='batches to time')
    add_model_arguments(decoding)
    for network in (decoding, folding):
        add_image_argument(network)
        network.add_argument('--repeats', type=count, default=30, help='calls of each; 30')
        add_json_argument(network)


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print what was found."""
    if arguments.what == 'speed':
        _time_training(arguments)
    else:
        _time_network(arguments)


def _time_training(arguments: argparse.Namespace) -> None:
    from lemore_core.research.training_speed import measure_speed

    planned = planned_run(arguments)
    speed = measure_speed(planned, arguments.steps)
    print(f'loading      {speed.loading:>8.1f} images/s, {planned.hardware.loaders} process(es)')
    print(f'step         {speed.step:>8.1f} images/s')
    print(f'together     {speed.together:>8.1f} images/s')
    print(f'epoch        {speed.epoch_seconds:>8.1f} s for {speed.images} images')


def _time_network(arguments: argparse.Namespace) -> None:
    require_packages('onnxruntime', 'onnx', 'torch')
    from tqdm import tqdm

    from lemore_core.benchmark.images import read_image
    from lemore_core.research.decoding import DECODINGS, time_decoding
    from lemore_core.research.folding import time_folding
    from lemore_core.segmenter import resolve_checkpoint

    image = read_image(arguments.image)
    if arguments.what == 'folding':
        repeats = tqdm(range(arguments.repeats), desc='repeats', leave=False, disable=None)
        print_rows(time_folding(image, repeats), as_json=arguments.json)
        return
    path = resolve_checkpoint(arguments.model, arguments.dataset)
    rows = [
        time_decoding(path, image, dataset, size, range(arguments.repeats))
        for dataset, size in tqdm(DECODINGS, leave=False, disable=None)
    ]
    print_rows(rows, as_json=arguments.json)
