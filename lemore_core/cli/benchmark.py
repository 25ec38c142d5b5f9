"""``lemore benchmark``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lemore_core.cli.arguments import add_model_arguments, add_size_arguments, requested_size
from lemore_core.errors import LemoreError

if TYPE_CHECKING:
    from lemore_core.benchmark.machine import Machine
    from lemore_core.benchmark.plan import Plan
    from lemore_core.benchmark.rows import Row

EXPLANATION = """\
what is one of
  steps    the time of each step from bytes to labels, for every combination of the options,
           measured in turns; with the most memory that each holds, and with --peer
           the networks of other ONNX files beside LeMoRe's own
  rate     images that come at a fixed rate, of which only the newest is labelled: the highest
           rate with less than 5% dropped, then latency, drops and CPU load at fixed rates
  memory   the memory of a fresh process over that of its libraries, and its growth
  decode   decoding to 150 and to 19 classes, against torch and against the network
  folding  tiny with 150 classes at 512x512: as exported, folded and in INT8

examples
  lemore benchmark
  lemore benchmark --models nano,tiny,small --sizes 640x480,1280x720 --plot times.html
  lemore benchmark --peer onnx:other.onnx --peer-size 512x512 --json -
  lemore benchmark rate --backends onnxruntime
"""


class Option(NamedTuple):
    """What a measurement makes of an option: who takes it, and its value if it is not given."""

    measurements: tuple[str, ...]
    default: Any


_CASES = ('steps', 'rate', 'memory')
# by their names in the parsed arguments; those that every measurement takes are not here
OPTIONS = {
    'models': Option(_CASES, None),
    'height': Option(_CASES, None),
    'width': Option(_CASES, None),
    'backends': Option(_CASES, None),
    'devices': Option(_CASES, ['auto']),
    'precisions': Option(_CASES, ['auto']),
    'sizes': Option(_CASES, None),
    'batches': Option(('steps', 'memory'), [1]),
    'rounds': Option(('steps', 'decode', 'folding'), 30),
    'no_memory': Option(('steps',), False),
    'peer': Option(('steps',), []),
    'peer_size': Option(('steps',), None),
    'rates': Option(('rate',), [10.0, 30.0, 60.0]),
    'seconds': Option(('rate',), 10.0),
    'probe_seconds': Option(('rate',), 3.0),
    'images': Option(('memory',), 10_000),
}
MEASUREMENTS = ('steps', 'rate', 'memory', 'decode', 'folding')
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
    parser.add_argument(
        '--image', type=Path, help='an image, or a video whose first one is taken; the demo clip'
    )
    parser.add_argument(
        '--json',
        metavar='FILE',
        help='write JSON (- prints it), as lemore_core/benchmark/rows.py describes it',
    )
    parser.add_argument('--plot', type=Path, metavar='FILE.html', help='draw the figures')
    _add_cases(parser.add_argument_group('cases', 'of steps, rate and memory: every combination'))
    _add_lengths(parser.add_argument_group('lengths'))
    peers = parser.add_argument_group('other networks, beside steps')
    peers.add_argument(
        '--peer', action='append', metavar='onnx:FILE', help='time an ONNX file; may be repeated'
    )
    peers.add_argument(
        '--peer-size', type=_size, metavar='WxH', help="where it leaves its size open; LeMoRe's"
    )


def _add_cases(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--models', type=_names, help='such as nano,tiny,small; that of --model')
    group.add_argument(
        '--backends', type=_names, help='such as onnxruntime,torch; all for steps, else auto'
    )
    group.add_argument('--devices', type=_names, help='such as cpu,cuda:0; auto')
    group.add_argument('--precisions', type=_names, help='such as fp32,fp16; auto')
    group.add_argument(
        '--sizes',
        type=_sizes,
        metavar='WxH,…',
        help="sizes of the image, such as 640x480,1280x720; the image's own, for memory 640x480",
    )
    group.add_argument('--batches', type=_counts, help='images a call, such as 1,4; 1')


def _add_lengths(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--rounds', type=_count, help='calls of each (steps, decode, folding), 30')
    group.add_argument(
        '--no-memory', action='store_true', default=None, help='steps: leave out the memory'
    )
    group.add_argument('--rates', type=_rates, metavar='HZ,…', help='rate: 10,30,60')
    group.add_argument('--seconds', type=_positive, help='rate: length of a fixed rate, 10')
    group.add_argument('--probe-seconds', type=_positive, help='rate: of one step of the search, 3')
    group.add_argument('--images', type=_count, help='memory: how many are labelled, 10000')


def run(arguments: argparse.Namespace) -> None:
    """Measure, print a table or JSON, and draw what was asked for."""
    plan = _plan(arguments)
    if arguments.plot is not None:
        from lemore_core.evaluation.report.build import check_requirements

        check_requirements()
    from lemore_core.benchmark.machine import machine
    from lemore_core.benchmark.run import run as measure

    rows = measure(plan)
    here = machine()
    if arguments.plot is not None:
        from lemore_core.benchmark.report import benchmark_report
        from lemore_core.evaluation.report.build import write_report

        write_report(benchmark_report(rows, here), arguments.plot)
    if arguments.json is not None:
        _write_json(arguments.json, rows, here)
    if arguments.json != '-':
        _print(rows, here)


def _plan(arguments: argparse.Namespace) -> Plan:
    from lemore_core.benchmark.cases import Grid
    from lemore_core.benchmark.plan import Plan, peer_path

    given = _with_defaults(arguments)
    in_memory = arguments.what == 'memory'
    grid = Grid(
        models=given['models'] or [arguments.model],
        sizes=given['sizes'] or ([MEMORY_SIZE] if in_memory else []),
        backends=given['backends'] or _backends(arguments.what),
        dataset=arguments.dataset,
        devices=given['devices'],
        precisions=given['precisions'],
        batches=given['batches'],
        network=requested_size(arguments),
    )
    return Plan(
        arguments.what,
        grid,
        image=arguments.image,
        rounds=given['rounds'],
        peers=[peer_path(text) for text in given['peer']],
        peer_size=given['peer_size'],
        memory=not given['no_memory'],
        rates=given['rates'],
        seconds=given['seconds'],
        probe_seconds=given['probe_seconds'],
        images=given['images'],
    )


def _with_defaults(arguments: argparse.Namespace) -> dict[str, Any]:
    values = {}
    for name, option in OPTIONS.items():
        value = getattr(arguments, name)
        if value is not None and arguments.what not in option.measurements:
            msg = (
                f'--{name.replace("_", "-")} is for {" and ".join(option.measurements)}, '
                f'{arguments.what} has no use for it'
            )
            raise LemoreError(msg)
        values[name] = option.default if value is None else value
    return values


def _backends(what: str) -> list[str]:
    from lemore_core.inference import AUTO, BACKENDS

    return list(BACKENDS) if what == 'steps' else [AUTO]


def _write_json(file: str, rows: list[Row], here: Machine) -> None:
    from lemore_core.benchmark.rows import document
    from lemore_core.system.files import atomic_write

    text = json.dumps(document(rows, here), indent=1)
    if file == '-':
        print(text)
        return
    try:
        with atomic_write(Path(file)) as temporary:
            temporary.write_text(text + '\n', encoding='utf-8')
    except OSError as error:
        msg = f'{file} cannot be written: {error.strerror}'
        raise LemoreError(msg) from error


def _print(rows: list[Row], here: Machine) -> None:
    from lemore_core.benchmark.rows import table_text, tables

    for name, value in here.facts().items():
        print(f'{name:<22}{value}')
    for lines in tables(rows):
        print(f'\n{table_text(lines)}')
    sys.stdout.flush()


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(',')]
    if not all(names):
        msg = f'{text!r} are no names with commas between them'
        raise argparse.ArgumentTypeError(msg)
    return names


def _sizes(text: str) -> list[tuple[int, int]]:
    return [_size(part) for part in text.split(',')]


def _size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT as (height, width)."""
    width, _, height = text.strip().partition('x')
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        msg = f'{text!r} is no size such as 640x480'
        raise argparse.ArgumentTypeError(msg)
    return int(height), int(width)


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(',')]


def _count(text: str) -> int:
    if not text.strip().isdigit() or not int(text):
        msg = f'{text!r} is no number of at least 1'
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _rates(text: str) -> list[float]:
    return [_positive(part) for part in text.split(',')]


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        msg = f'{text!r} is no number above 0'
        raise argparse.ArgumentTypeError(msg)
    return value
