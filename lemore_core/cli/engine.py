"""``lemore engine``."""

from __future__ import annotations

import argparse
import time

from lemore_core.cli.arguments import declare, requested_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='action')
    build = actions.add_parser('build', help='build an engine for the GPU here, and try it')
    declare(build, 'model', 'dataset', 'height', 'width', 'precision')
    build.add_argument('--batch', type=int, default=1, help='images a call, one per camera')
    build.add_argument('--device', default='auto', help='auto, cuda or cuda:N')
    text = 'leave the processors to everything else'
    build.add_argument('--low-priority', action='store_true', help=text)


def run(arguments: argparse.Namespace) -> None:
    """Build the TensorRT engine of a network."""
    from lemore_core.export.onnx_file import read_model_card
    from lemore_core.inference.backend import ServingRequest
    from lemore_core.inference.tensorrt.build import build_engine, yield_to_others
    from lemore_core.inference.tensorrt.cache import locate_engine
    from lemore_core.segmenter import resolve_checkpoint

    yield_to_others(low_priority=arguments.low_priority)
    path = resolve_checkpoint(arguments.model, arguments.dataset)
    config = read_model_card(path).config
    height, width = requested_size(arguments) or (config.height, config.width)
    options = {name: getattr(arguments, name) for name in ('device', 'precision', 'batch')}
    request = ServingRequest(path, height, width, **options)
    started = time.monotonic()
    is_new = not locate_engine(request).is_built
    engine = build_engine(request)
    took = f'built in {time.monotonic() - started:.1f} s' if is_new else 'there already'
    print(
        f'{engine.path}: {took}\n{width}x{height} x {engine.request.batch}, '
        f'{engine.request.gpu_precision}, {engine.gpu.name}, '
        f'{engine.path.stat().st_size / (1 << 20):.1f} MiB'
    )
