"""``lemore export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from lemore_core.cli.arguments import declare, requested_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    declare(parser, 'model', 'dataset', 'height', 'width')
    parser.add_argument('--output', '-o', type=Path, required=True, help='the .onnx file to write')


def run(arguments: argparse.Namespace) -> None:
    """Write the serving graph for one network size."""
    from lemore_core.common.files import write_whole
    from lemore_core.export.export import export_onnx
    from lemore_core.export.onnx_file import read_model_card
    from lemore_core.segmenter import resolve_checkpoint

    path = resolve_checkpoint(arguments.model, arguments.dataset)
    config = read_model_card(path).config
    height, width = requested_size(arguments) or (config.height, config.width)
    write_whole(arguments.output, export_onnx(path, height, width))
    print(f'{arguments.output}: {width}x{height} pixels, {config.classes} classes')
