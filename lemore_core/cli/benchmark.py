"""``lemore benchmark``."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from lemore_core.cli.arguments import count, declare, image_size, listed, print_json, requested_size

EXPLANATION = """\
examples
  lemore benchmark
  lemore benchmark --models nano,tiny,small --sizes 640x480,1280x720
  lemore benchmark --models tiny,other.onnx --backends onnxruntime
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXPLANATION
    declare(parser, 'model', 'dataset', 'height', 'width', 'json')
    text = 'an image, or a video or bag whose first one is taken; the demo clip'
    parser.add_argument('--image', type=Path, help=text)
    parser.add_argument('--repeats', type=count, default=30, help='calls of each case; 30')
    cases = parser.add_argument_group('cases: every combination, interleaved')
    texts = listed(str)
    cases.add_argument('--models', type=texts, help='such as nano,tiny or files; that of --model')
    cases.add_argument('--backends', type=texts, help='such as onnxruntime,torch; all')
    cases.add_argument('--devices', type=texts, default=['auto'], help='such as cpu,cuda:0; auto')
    cases.add_argument('--precisions', type=texts, default=['auto'], help='fp32,fp16; auto')
    text = "sizes of the image, such as 640x480; the image's own"
    cases.add_argument('--sizes', type=listed(image_size), metavar='WxH,…', help=text)
    cases.add_argument('--batches', type=listed(count), default=[1], help='images a call; 1')


def run(arguments: argparse.Namespace) -> None:
    """Measure; print a table or JSON."""
    from lemore_core import benchmark
    from lemore_core.inference import BACKENDS
    from lemore_core.segmenter_options import SegmenterOptions

    dataset, network = arguments.dataset, requested_size(arguments)
    combinations = itertools.product(
        arguments.models or [arguments.model],
        arguments.backends or BACKENDS,
        arguments.devices,
        arguments.precisions,
        arguments.sizes or [benchmark.read_image(arguments.image).shape[:2]],
        arguments.batches,
    )
    cases = [
        benchmark.Case(
            SegmenterOptions(model, dataset, backend, device, precision, network, batch), size
        )
        for model, backend, device, precision, size, batch in combinations
    ]
    rows = benchmark.measure_steps(cases, arguments.image, arguments.repeats)
    if arguments.json:
        print_json(benchmark.document(rows))
        return
    for name, value in benchmark.machine_facts().items():
        print(f'{name:<22}{value}')
    print(f'\n{benchmark.table(rows)}')
