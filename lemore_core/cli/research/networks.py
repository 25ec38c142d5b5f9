"""``lemore research decoding`` and ``folding``."""

from __future__ import annotations

import argparse

from lemore_core.cli.arguments import (
    add_json_argument,
    add_model_arguments,
    count,
    require_packages,
)
from lemore_core.cli.benchmark import add_image_argument, print_rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    if parser.prog.endswith('decoding'):
        add_model_arguments(parser)
    add_image_argument(parser)
    parser.add_argument('--repeats', type=count, default=30, help='calls of each; 30')
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print a table or JSON."""
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
