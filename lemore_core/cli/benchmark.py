"""``lemore benchmark``."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lemore_core.cli.arguments import (
    add_json_argument,
    add_model_arguments,
    add_size_arguments,
    count,
    image_size,
    listed,
    positive,
    print_json,
    requested_size,
)
from lemore_core.common.errors import LemoreError

if TYPE_CHECKING:
    from lemore_core.benchmark.cases import Case
    from lemore_core.benchmark.rows import Measurement

EXPLANATION = """\
what is one of
  steps    the time of each step from bytes to labels, for every combination of the options,
           interleaved
  rate     images at a fixed rate, of which only the newest is segmented: the highest rate with
           less than 5% dropped, then latency, drops and CPU load at fixed rates
  memory   the memory of a fresh process over that of its libraries, and its growth

examples
  lemore benchmark
  lemore benchmark --models nano,tiny,small --sizes 640x480,1280x720
  lemore benchmark rate --models tiny,other.onnx --backends onnxruntime --report rates.html
"""
MEASUREMENTS = ('steps', 'rate', 'memory')
# options that only some measurements take, and their defaults
DEFAULTS = {
    'steps': {'batches': [1], 'repeats': 30},
    'rate': {'rates': [10.0, 30.0, 60.0], 'seconds': 10.0, 'probe_seconds': 3.0, 'report': None},
    'memory': {'batches': [1], 'images': 10_000},
}
MEMORY_SIZE = (480, 640)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXPLANATION
    parser.add_argument(
        'what', nargs='?', choices=MEASUREMENTS, default='steps', help='see below; steps'
    )
    add_model_arguments(parser)
    add_size_arguments(parser)
    add_image_argument(parser)
    add_json_argument(parser)
    parser.add_argument(
        '--report', type=Path, metavar='FILE.html', help='rate: all models in one plot'
    )
    cases = parser.add_argument_group('cases: every combination')
    cases.add_argument(
        '--models', type=listed(str), help='such as nano,tiny or files; that of --model'
    )
    cases.add_argument(
        '--backends', type=listed(str), help='such as onnxruntime,torch; all for steps, else auto'
    )
    cases.add_argument(
        '--devices', type=listed(str), default=['auto'], help='such as cpu,cuda:0; auto'
    )
    cases.add_argument(
        '--precisions', type=listed(str), default=['auto'], help='such as fp32,fp16; auto'
    )
    cases.add_argument(
        '--sizes',
        type=listed(image_size),
        metavar='WxH,…',
        help="sizes of the image, such as 640x480; the image's own, for memory 640x480",
    )
    cases.add_argument('--batches', type=listed(count), help='steps, memory: images a call; 1')
    lengths = parser.add_argument_group('lengths')
    lengths.add_argument('--repeats', type=count, help='steps: calls of each; 30')
    lengths.add_argument('--rates', type=listed(positive), metavar='HZ,…', help='rate: 10,30,60')
    lengths.add_argument('--seconds', type=positive, help='rate: length of a fixed rate; 10')
    lengths.add_argument('--probe-seconds', type=positive, help='rate: of a step of the search; 3')
    lengths.add_argument('--images', type=count, help='memory: how many are segmented; 10000')


def add_image_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--image``."""
    parser.add_argument(
        '--image', type=Path, help='an image, or a video whose first one is taken; the demo clip'
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print tables or JSON."""
    from lemore_core.benchmark.memory import measure_memories
    from lemore_core.benchmark.steps import measure_steps

    _fill_in_defaults(arguments)
    cases = _cases(arguments)
    rows: Sequence[Measurement]
    if arguments.what == 'rate':
        rows = _rates(arguments, cases)
    elif arguments.what == 'memory':
        rows = measure_memories(cases, arguments.image, arguments.images)
    else:
        rows = measure_steps(cases, arguments.image, arguments.repeats)
    print_rows(rows, as_json=arguments.json)


def _rates(arguments: argparse.Namespace, cases: list[Case]) -> Sequence[Measurement]:
    """Measure rates, and write the report that was asked for."""
    from lemore_core.benchmark.machine import machine_facts
    from lemore_core.benchmark.rates import measure_rates
    from lemore_core.evaluation.report.build import check_requirements

    if arguments.report is not None:
        check_requirements()
    rows = measure_rates(
        cases,
        arguments.image,
        rates=arguments.rates,
        seconds=arguments.seconds,
        probe_seconds=arguments.probe_seconds,
    )
    if arguments.report is not None:
        from lemore_core.benchmark.report import write_rates

        write_rates(rows, machine_facts(), arguments.report)
    return rows


def print_rows(rows: Sequence[Measurement], *, as_json: bool) -> None:
    """Print rows as tables or JSON, with what they were measured on."""
    from lemore_core.benchmark.machine import machine_facts
    from lemore_core.benchmark.rows import document, tables

    facts = machine_facts()
    if as_json:
        print_json(document(rows, facts))
        return
    for name, value in facts.items():
        print(f'{name:<22}{value}')
    for table in tables(rows):
        print(f'\n{table}')


def _cases(arguments: argparse.Namespace) -> list[Case]:
    from lemore_core.benchmark.cases import Case
    from lemore_core.benchmark.images import read_image
    from lemore_core.inference import AUTO, BACKENDS
    from lemore_core.segmenter_options import SegmenterOptions

    sizes = arguments.sizes
    if sizes is None:
        of_image = read_image(arguments.image).shape[:2]
        sizes = [MEMORY_SIZE if arguments.what == 'memory' else of_image]
    backends = arguments.backends or (list(BACKENDS) if arguments.what == 'steps' else [AUTO])
    network = requested_size(arguments)
    return [
        Case(
            SegmenterOptions(model, arguments.dataset, backend, device, precision, network, batch),
            size,
        )
        for model, backend, device, precision, size, batch in itertools.product(
            arguments.models or [arguments.model],
            backends,
            arguments.devices,
            arguments.precisions,
            sizes,
            arguments.batches or [1],
        )
    ]


def _fill_in_defaults(arguments: argparse.Namespace) -> None:
    for name in {name for options in DEFAULTS.values() for name in options}:
        takers = [what for what, options in DEFAULTS.items() if name in options]
        value = getattr(arguments, name)
        if value is None:
            setattr(arguments, name, DEFAULTS[arguments.what].get(name))
        elif arguments.what not in takers:
            flag = f'--{name.replace("_", "-")}'
            msg = f'{flag} is for {" and ".join(takers)}, {arguments.what} has no use for it'
            raise LemoreError(msg)
