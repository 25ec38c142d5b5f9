"""``lemore research decoding``, ``folding`` and ``peers``."""

from __future__ import annotations

import argparse
from pathlib import Path

from lemore_core.cli.arguments import (
    add_json_argument,
    add_model_arguments,
    add_size_arguments,
    count,
    image_size,
    requested_size,
    require_packages,
)
from lemore_core.cli.benchmark import add_image_argument, print_rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    what = parser.prog.split()[-1]
    if what == 'peers':
        parser.add_argument('peers', nargs='+', type=Path, metavar='FILE.onnx')
        parser.add_argument(
            '--size', type=image_size, metavar='WxH', help="where a file leaves it open; LeMoRe's"
        )
        add_size_arguments(parser)
    if what != 'folding':
        add_model_arguments(parser)
    add_image_argument(parser)
    parser.add_argument('--repeats', type=count, default=30, help='calls of each; 30')
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print a table or JSON."""
    require_packages('onnxruntime', 'onnx', 'torch')
    from tqdm import tqdm

    from lemore_core.benchmark.cases import Case
    from lemore_core.benchmark.images import read_image
    from lemore_core.research.decoding import DECODINGS, time_decoding
    from lemore_core.research.folding import SIZE, time_folding
    from lemore_core.research.peers import time_peers
    from lemore_core.segmenter import resolve_checkpoint

    image = read_image(arguments.image)
    repeats = tqdm(range(arguments.repeats), desc='repeats', leave=False, disable=None)
    if arguments.what == 'folding':
        print_rows(time_folding(image, repeats, SIZE), as_json=arguments.json)
        return
    if arguments.what == 'decoding':
        path = resolve_checkpoint(arguments.model, arguments.dataset)
        rows = [
            time_decoding(path, image, dataset, size, range(arguments.repeats))
            for dataset, size in tqdm(DECODINGS, leave=False, disable=None)
        ]
        print_rows(rows, as_json=arguments.json)
        return
    height, width, _ = image.shape
    case = Case(
        arguments.model,
        (height, width),
        dataset=arguments.dataset,
        network=requested_size(arguments),
    )
    timed = time_peers(case, image, arguments.peers, arguments.size, repeats)
    print_rows(timed, as_json=arguments.json)
