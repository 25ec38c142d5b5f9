"""Run a node under load for long: memory, threads, descriptors, latency and counts of images.

All outputs are subscribed to; one image in a hundred is refused; figures follow a warm-up of a tenth.

Exit status: 0; 1 where a bar was missed; 2 where nothing could be measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rclpy

from lemore_core.common.child import Child
from lemore_core.common.errors import LemoreError
from lemore_core.common.memory import process_memory
from lemore_ros.share import image_profile
from lemore_ros.tools.probe import STATUS_S, Probe, isolated_graph, serialised_street, start_node

SIZE = 160, 120
OTHERS = ['confidence', 'color', 'overlay', 'overlay/compressed', 'labels/compressed']
PARAMETERS = {'model': 'nano', 'network_height': 96, 'network_width': 128}
REFUSED_EVERY = 100
OUTCOMES = ('labelled', 'failed', 'dropped', 'skipped')
GROWTH_MB, SLOWER = 1.0, 0.1
# fewer images do not show growth, or changes of latency
FEWEST_FOR_GROWTH, COMPARED = 10_000, 1000


class Sample(NamedTuple):
    """The node's process after so many images."""

    images: int
    memory_mb: float
    threads: int
    descriptors: int


class Row(NamedTuple):
    """A figure, its bar, and whether it is met; None with too few images."""

    name: str
    found: str
    bar: str
    is_met: bool | None


def rows(
    samples: list[Sample], latencies_ms: list[float], values: dict[str, str], sent: int
) -> list[Row]:
    """Return every figure with its bar."""
    first, last = samples[0], samples[-1]
    images, memory = [s.images for s in samples], [s.memory_mb for s in samples]
    growth = 1e4 * float(np.polyfit(images, memory, 1)[0])
    parts = latencies_ms[:COMPARED], latencies_ms[-COMPARED:]
    before, after = (float(np.median(part)) for part in parts)
    is_long = sent >= FEWEST_FOR_GROWTH
    grown = f'{first.memory_mb:.1f} to {last.memory_mb:.1f}, {growth:+.2f} in 10,000 images'
    steady = before * (1 + SLOWER) >= after
    counts = {name: int(values[name]) for name in OUTCOMES}
    received = int(values['received'])
    is_lean = growth < GROWTH_MB if is_long else None
    latency, named = (
        f'latency of the first and last {COMPARED}, p50 ms',
        f'{before:.2f}, {after:.2f}',
    )
    arrived = f'{received} (with the warm-up) of {sent} sent'
    outcomes = ' + '.join(f'{count} {name}' for name, count in counts.items())
    found = [Row('memory, MB', grown, f'below {GROWTH_MB:+.0f}', is_lean)]
    for name in ('threads', 'descriptors'):
        start, end = getattr(first, name), getattr(last, name)
        found.append(Row(name, f'{start} to {end}', 'no more', end <= start))
    found.append(Row(latency, named, f'within {SLOWER:.0%}', steady if is_long else None))
    found.append(Row('images received', arrived, outcomes, received == sum(counts.values())))
    return found


def soak(node: Child, frames: int, rate_hz: float) -> list[Row]:
    """Put a node under load and return the figures."""
    probe = Probe(OTHERS)
    good, refused = serialised_street(*SIZE), serialised_street(*SIZE, encoding='none8')
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
            samples.append(sample(node.pid, sent))
    # the last labels arrive, and diagnostics after them
    probe.spin(STATUS_S)
    return rows(samples, probe.latencies_ms, probe.values, sent)


def sample(pid: int, images: int) -> Sample:
    process = Path('/proc', str(pid))
    threads, descriptors = (len(list((process / name).iterdir())) for name in ('task', 'fd'))
    return Sample(images, process_memory(process / 'status').resident_mb, threads, descriptors)


def main() -> int:
    """Run, print the table as Markdown and return the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser('soak', description=__doc__, formatter_class=form)
    parser.add_argument('--frames', type=int, default=100_000, help='images: 100000')
    parser.add_argument('--rate', type=float, default=100.0, help='images a second: 100')
    options = parser.parse_args()
    os.environ.update(isolated_graph() | image_profile(os.environ))
    rclpy.init(args=[])
    try:
        with tempfile.TemporaryDirectory(prefix='lemore-soak-') as folder:
            log = Path(folder, 'node.log')
            with start_node(PARAMETERS, log, {}) as node:
                found = soak(node, options.frames, options.rate)
    except LemoreError as error:
        print(f'soak: {error}', file=sys.stderr)
        return 2
    finally:
        rclpy.try_shutdown()
    print('| | found | bar | |', '|---|---|---|---|', sep='\n')
    for row in found:
        verdict = {True: 'met', False: '**missed**', None: 'too few images'}[row.is_met]
        print(f'| {row.name} | {row.found} | {row.bar} | {verdict} |')
    return int(any(row.is_met is False for row in found))


if __name__ == '__main__':
    sys.exit(main())
