"""A node under load for long: does it grow, leak, slow down, or lose count of an image?

A node of its own segments small images with the smallest network while every image output is
subscribed to; one image in a hundred has an encoding that is refused. Prints a table of what was
measured and its bar. Times and memory are after a warm-up of a tenth of the images.

Exit status: 0; 1 where a bar was missed; 2 where nothing could be measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rclpy

from lemore_core.common.errors import LemoreError
from lemore_core.common.memory import process_memory
from lemore_ros.share import image_profile
from lemore_ros.tools.child import Child, isolated_graph
from lemore_ros.tools.measuring import NODE
from lemore_ros.tools.probe import STATUS_S, Probe, serialised_street

SIZE = 160, 120
OTHERS = ('confidence', 'color', 'overlay', 'overlay/compressed', 'labels/compressed')
PARAMETERS = ('model:=nano', 'network_height:=96', 'network_width:=128')
REFUSED_EVERY = 100
OUTCOMES = ('labelled', 'failed', 'dropped', 'skipped')
GROWTH_MB, SLOWER = 1.0, 0.1
# fewer images say nothing of growth, or of how times change
FEWEST_FOR_GROWTH, COMPARED = 10_000, 1000


class Sample(NamedTuple):
    """The node's process after so many images."""

    images: int
    memory_mb: float
    threads: int
    descriptors: int


class Row(NamedTuple):
    """A figure, its bar, and whether it is met; None where so few images say nothing."""

    what: str
    found: str
    bar: str
    is_met: bool | None


class Soak(NamedTuple):
    """What came of it: samples in time, the latencies of all labels, the node's counts."""

    samples: list[Sample]
    latencies_ms: list[float]
    counts: dict[str, int]
    sent: int

    def rows(self) -> list[Row]:
        """Return every figure with its bar."""
        first, last = self.samples[0], self.samples[-1]
        images = [sample.images for sample in self.samples]
        slope, _ = np.polyfit(images, [sample.memory_mb for sample in self.samples], 1)
        growth = 1e4 * slope
        is_long = self.sent >= FEWEST_FOR_GROWTH
        before, after = (
            float(np.median(part))
            for part in (self.latencies_ms[:COMPARED], self.latencies_ms[-COMPARED:])
        )
        outcomes = {name: self.counts[name] for name in OUTCOMES}
        return [
            Row(
                'memory, MB',
                f'{first.memory_mb:.1f} to {last.memory_mb:.1f}, {growth:+.2f} in 10,000 images',
                f'below {GROWTH_MB:+.0f}',
                growth < GROWTH_MB if is_long else None,
            ),
            Row(
                'threads',
                f'{first.threads} to {last.threads}',
                'no more',
                last.threads <= first.threads,
            ),
            Row(
                'descriptors',
                f'{first.descriptors} to {last.descriptors}',
                'no more',
                last.descriptors <= first.descriptors,
            ),
            Row(
                f'latency of the first and last {COMPARED}, p50 ms',
                f'{before:.2f}, {after:.2f}',
                f'within {SLOWER:.0%}',
                after <= (1 + SLOWER) * before if is_long else None,
            ),
            Row(
                'images received',
                f'{self.counts["received"]} (with the warm-up) of {self.sent} sent',
                ' + '.join(f'{count} {name}' for name, count in outcomes.items()),
                self.counts['received'] == sum(outcomes.values()),
            ),
        ]


def soak(frames: int, rate_hz: float) -> Soak:
    """Run a node under load.

    Raises:
        LemoreError: a process failed, or the topics are not as they must be.
    """
    environment = {**isolated_graph(), **image_profile(os.environ)}
    os.environ.update(environment)
    arguments = ['--ros-args', *(word for pair in PARAMETERS for word in ('-p', pair))]
    with tempfile.TemporaryDirectory(prefix='lemore-soak-') as folder:
        log = Path(folder, 'node.log')
        module = 'lemore_ros.node.segmentation_node'
        with Child('node', module, arguments, log, environment) as node:
            rclpy.init(args=[])
            try:
                return _soak(node, frames, rate_hz)
            finally:
                rclpy.try_shutdown()


def _soak(node: Child, frames: int, rate_hz: float) -> Soak:
    others = [f'{NODE}/{other}' for other in OTHERS]
    probe = Probe(['/image'], [f'{NODE}/labels'], others, '/diagnostics')
    good, refused = serialised_street(*SIZE), serialised_street(*SIZE, encoding='none8')
    probe.connect()
    probe.warm_up(good)
    samples: list[Sample] = []
    sent, warm = 0, frames // 10
    while sent < frames or len(samples) < 2:
        probe.publish(good, REFUSED_EVERY - 1, rate_hz)
        probe.publish(refused, 1, rate_hz)
        sent += REFUSED_EVERY
        node.check()
        if not samples and sent >= warm:
            probe.latencies_ms.clear()
        if sent >= warm:
            samples.append(_sample(node.pid, sent))
    # the last ones come to an end, and a status after them
    probe.spin(STATUS_S)
    return Soak(samples, probe.latencies_ms, _counts(probe), sent)


def _counts(probe: Any) -> dict[str, int]:
    (values,) = probe.figures.values()
    return {name: int(values[name]) for name in ('received', *OUTCOMES)}


def _sample(pid: int, images: int) -> Sample:
    process = Path('/proc', str(pid))
    threads, descriptors = (len(list((process / name).iterdir())) for name in ('task', 'fd'))
    return Sample(images, process_memory(process / 'status').resident_mb, threads, descriptors)


def print_table(rows: list[Row]) -> bool:
    """Print the rows as Markdown; return whether no bar was missed."""
    print('| | found | bar | |', '|---|---|---|---|', sep='\n')
    for what, found, bar, is_met in rows:
        verdict = {True: 'met', False: '**missed**', None: 'too few images'}[is_met]
        print(f'| {what} | {found} | {bar} | {verdict} |')
    return all(row.is_met is not False for row in rows)


def main() -> int:
    """Run, print and return the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser('soak', description=__doc__, formatter_class=form)
    parser.add_argument('--frames', type=int, default=100_000, help='images: 100000')
    parser.add_argument('--rate', type=float, default=100.0, help='images a second: 100')
    arguments = parser.parse_args()
    try:
        rows = soak(arguments.frames, arguments.rate).rows()
    except LemoreError as error:
        print(f'soak: {error}', file=sys.stderr)
        return 2
    return 0 if print_table(rows) else 1


if __name__ == '__main__':
    sys.exit(main())
