"""``lemore engine``."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from lemore_core.cli.arguments import (
    add_model_arguments,
    add_precision_argument,
    add_size_arguments,
    requested_size,
)

if TYPE_CHECKING:
    from lemore_core.inference.backend import ServingRequest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='action')
    build = actions.add_parser('build', help='build an engine for the GPU here, and try it')
    add_model_arguments(build)
    add_size_arguments(build)
    add_precision_argument(build)
    build.add_argument('--batch', type=int, default=1, help='images a call, one per camera')
    build.add_argument('--device', default='auto', help='auto, cuda or cuda:N')
    build.add_argument(
        '--low-priority', action='store_true', help='leave the processors to everything else'
    )


def run(arguments: argparse.Namespace) -> None:
    """Build the TensorRT engine of a network."""
    from lemore_core.inference.tensorrt.build import build_engine, yield_to_others
    from lemore_core.inference.tensorrt.cache import locate_engine

    yield_to_others(low_priority=arguments.low_priority)
    request = _request(arguments)
    started = time.monotonic()
    is_new = not locate_engine(request).is_built
    engine = build_engine(request)
    took = f'built in {time.monotonic() - started:.1f} s' if is_new else 'there already'
    size, precision = f'{request.width}x{request.height}', engine.request.gpu_precision
    print(f'{engine.path}: {took}')
    print(
        f'{size} x {engine.request.batch}, {precision}, {engine.gpu.name}, '
        f'{engine.path.stat().st_size / (1 << 20):.1f} MiB'
    )


def _request(arguments: argparse.Namespace) -> ServingRequest:
    from lemore_core.export.onnx_file import read_model_card
    from lemore_core.inference.backend import ServingRequest
    from lemore_core.segmenter import resolve_checkpoint

    path = resolve_checkpoint(arguments.model, arguments.dataset)
    config = read_model_card(path).config
    height, width = requested_size(arguments) or (config.height, config.width)
    return ServingRequest(
        path,
        height,
        width,
        device=arguments.device,
        precision=arguments.precision,
        batch=arguments.batch,
    )
