"""A node measured as ros2_benchmark and isaac_ros_benchmark measure theirs, with their names in JSON.

First the highest rate at which under 5 % of the images are lost, then latency at 10, 30 and 60 Hz. Every
figure is the mean over several runs without the best and the worst, as theirs are; times are
milliseconds between the publish call and the arrival of the label image in another process. Their
``ResourceMetrics`` are not taken: the node's own processor time is in ``measure_latency``.

Exit status: 0; 2 where nothing could be measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rclpy.utilities import get_rmw_implementation_identifier

from lemore_core.benchmark.peak import LEAST_REACHED, MOST_DROPPED, search_rate
from lemore_core.cli.arguments import count, image_size, listed, positive
from lemore_core.common.errors import LemoreError
from lemore_ros.tools.measuring import NODE, Load, MeasuredNode, Reading

PREFIX = 'BasicPerformanceMetrics.'
FEWEST_RUNS = 3

Metrics = dict[str, float]


def metrics(reading: Reading) -> Metrics:
    """Return what one run comes to; nothing where fewer than three labels arrived."""
    sent, arrived = np.array(reading.sent_ms), np.array(reading.arrived_ms)
    latencies = np.array(reading.latencies_ms)
    if len(arrived) < 3:
        return {}
    jitters = np.abs(np.diff(np.diff(arrived)))
    duration = float(arrived[-1] - arrived[0])
    return {
        'RECEIVED_DURATION': duration,
        'MEAN_PLAYBACK_FRAME_RATE': 1e3 * len(sent) / float(sent[-1] - sent[0]),
        'MEAN_FRAME_RATE': 1e3 * len(arrived) / duration,
        'NUM_MISSED_FRAMES': float(len(sent) - len(arrived)),
        'NUM_FRAMES_SENT': float(len(sent)),
        'FIRST_SENT_RECEIVED_LATENCY': float(arrived[0] - sent[0]),
        'LAST_SENT_RECEIVED_LATENCY': float(arrived[-1] - sent[-1]),
        'FIRST_INPUT_LATENCY': float(latencies[0]),
        'LAST_INPUT_LATENCY': float(latencies[-1]),
        'MAX_LATENCY': float(latencies.max()),
        'MIN_LATENCY': float(latencies.min()),
        'MEAN_LATENCY': float(latencies.mean()),
        'MAX_JITTER': float(jitters.max()),
        'MIN_JITTER': float(jitters.min()),
        'MEAN_JITTER': float(jitters.mean()),
        'STD_DEV_JITTER': float(jitters.std()),
    }


def concluded(runs: Sequence[Metrics]) -> Metrics:
    """Return the metrics over several runs, each without its best and its worst value."""
    complete = [run for run in runs if run]
    if len(complete) < FEWEST_RUNS:
        msg = f'labels arrived in {len(complete)} of {len(runs)} runs, {FEWEST_RUNS} are needed'
        raise LemoreError(msg)
    found: Metrics = {}
    for name in complete[0]:
        values = sorted(run[name] for run in complete)[1:-1]
        # theirs: the extremes of extremes, and the largest mean jitter
        if name in {'MAX_LATENCY', 'MAX_JITTER', 'MEAN_JITTER'}:
            value = values[-1]
        elif name in {'MIN_LATENCY', 'MIN_JITTER'}:
            value = values[0]
        else:
            value = float(np.mean(values))
        found[f'{PREFIX}{name}'] = round(value, 3)
    return found


def benchmark(
    target: MeasuredNode,
    size: tuple[int, int],
    rates: Sequence[float],
    *,
    seconds: float,
    runs: int,
) -> dict[str, object]:
    """Return what JSON holds: the metrics at the peak rate, and those at each of ``rates``.

    Raises:
        LemoreError: a process failed, or too few labels arrived.
    """

    def run(rate: float) -> Reading:
        return target.measure(Load(size, rate, max(3, round(rate * seconds))))

    def passes(rate: float) -> bool:
        found = metrics(run(rate))
        lost = found.get('NUM_MISSED_FRAMES', 1.0) / found.get('NUM_FRAMES_SENT', 1.0)
        return lost < MOST_DROPPED and found['MEAN_PLAYBACK_FRAME_RATE'] >= LEAST_REACHED * rate

    peak = search_rate(passes, 30.0, 8).passed
    if not peak:
        msg = 'more than 5 % of the images are lost at every rate that was tried'
        raise LemoreError(msg)
    readings = [run(peak) for _ in range(runs)]
    at_rates = {
        f'{rate:.1f}fps': concluded([metrics(run(rate)) for _ in range(runs)]) for rate in rates
    }
    values = next(iter(readings[-1].after.values()))
    return {
        **concluded([metrics(reading) for reading in readings]),
        **at_rates,
        'BenchmarkMetadata.PEAK_THROUGHPUT_PREDICTION': round(peak, 2),
        'metadata': {
            'name': f'lemore_ros {values["model"]}',
            'input_data_size': f'{size[0]}x{size[1]}',
            'backend': values['backend'],
            'device': values['device'],
            'precision': values['precision'],
            'rmw_implementation': get_rmw_implementation_identifier(),
            'runs': runs,
            'seconds': seconds,
        },
    }


def main(args: Sequence[str] | None = None) -> int:
    """Measure, print the peak and the latencies, write the file, and return the exit status."""
    arguments = _parser().parse_args(args)
    names = ('model', 'backend', 'device', 'executor')
    target = MeasuredNode(
        {name: getattr(arguments, name) for name in names}, arguments.attach, arguments.image_topic
    )
    height, width = arguments.size
    try:
        result = benchmark(
            target,
            (width, height),
            arguments.rates,
            seconds=arguments.seconds,
            runs=arguments.runs,
        )
    except LemoreError as error:
        print(f'lemore_benchmark: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    text = json.dumps(result, indent=2)
    if arguments.output is None:
        print(text)
    else:
        arguments.output.write_text(f'{text}\n', encoding='utf-8')
        print(f'{arguments.output}: peak {result[f"{PREFIX}MEAN_FRAME_RATE"]} Hz')
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser('lemore_benchmark', description=__doc__)
    parser.add_argument('--size', type=image_size, default=(540, 960), help='images: 960x540')
    parser.add_argument(
        '--rates', type=listed(positive), default=[10.0, 30.0, 60.0], help='Hz: 10,30,60'
    )
    parser.add_argument('--runs', type=count, default=5, help='of each rate, at least 3: 5')
    parser.add_argument('--seconds', type=positive, default=5.0, help='of each run: 5')
    parser.add_argument('--model', default='tiny', help='tiny, or as the parameter of the node')
    for name, default in (('backend', 'auto'), ('device', 'auto'), ('executor', 'single')):
        parser.add_argument(f'--{name}', default=default, help='as the parameter of the node')
    parser.add_argument('--image-topic', default='/image', help="the --attach node's: /image")
    parser.add_argument(
        '--attach', default='', metavar='NODE', help=f'measure a running node, such as {NODE}'
    )
    parser.add_argument('--output', type=Path, metavar='FILE.json', help='else it is printed')
    return parser


if __name__ == '__main__':
    sys.exit(main())
