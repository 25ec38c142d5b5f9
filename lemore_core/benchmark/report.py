"""A benchmark as one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lemore_core.benchmark import plots
from lemore_core.benchmark.machine import Machine
from lemore_core.benchmark.rows import Row, tables
from lemore_core.evaluation.report.content import Plot, Report, ReportSection, Table

Rows = Sequence[Any]


def benchmark_report(rows: Sequence[Row], machine: Machine) -> Report:
    """Return the report of rows of any kinds, for :func:`~…report.build.write_report`."""
    kinds: dict[str, Rows] = {
        row.kind: [other for other in rows if other.kind == row.kind] for row in rows
    }
    drawn = {kind: DRAW[kind](kinds) for kind in kinds if kind in DRAW}
    sections = [
        ReportSection(
            TITLES[kind], (drawn[kind], *_tables(found)) if kind in drawn else _tables(found)
        )
        for kind, found in kinds.items()
    ]
    return Report('LeMoRe benchmark', facts=machine.facts(), sections=tuple(sections))


def _tables(rows: Sequence[Row]) -> tuple[Table, ...]:
    title = 'the reasons' if rows[0].kind == 'skipped' else 'the figures'
    return tuple(
        Table(title, tuple(lines[0]), tuple(tuple(line.values()) for line in lines))
        for lines in tables(rows)
    )


def _steps(kinds: dict[str, Rows]) -> Plot:
    rows = kinds['steps']
    said = '; '.join(f'{row.name} {row.total_ms.median:.2f} ms' for row in rows)
    return Plot(plots.step_bars(rows), f'medians of the steps of each case: {said}')


def _networks(kinds: dict[str, Rows]) -> Plot:
    return _bars({row.name: row.network_ms.median for row in kinds['network']})


def _decodings(kinds: dict[str, Rows]) -> Plot:
    medians = {}
    for row in kinds['decode']:
        medians[f'decode {row.logits} to {row.labels}'] = row.decode_ms.median
        medians[f'the network for {row.labels}'] = row.network_ms.median
        medians[f'the same in torch, {row.labels}'] = row.torch_ms.median
    return _bars(medians)


def _bars(medians: dict[str, float]) -> Plot:
    said = '; '.join(f'{name} {one:.2f} ms' for name, one in medians.items())
    return Plot(plots.ratio_bars(medians, 'milliseconds'), f'medians: {said}')


def _rates(kinds: dict[str, Rows]) -> Plot:
    rows = kinds['rate']
    said = '; '.join(
        f'{row.name} at {row.rate_hz:g} Hz {row.latency_ms.median:.1f} ms' for row in rows
    )
    peaks = kinds.get('peak', [])
    return Plot(plots.latency_lines(rows, peaks), f'latency by rate, medians: {said}')


def _memory(kinds: dict[str, Rows]) -> Plot:
    rows = kinds['memory']
    said = '; '.join(f'{row.name} {row.last_mb:.0f} MB after {row.images} images' for row in rows)
    return Plot(plots.memory_lines(rows), f'resident memory: {said}')


TITLES = {
    'steps': 'From bytes to labels',
    'network': 'Networks alone',
    'decode': 'Decoding',
    'peak': 'Highest rate',
    'rate': 'Latency at fixed rates',
    'memory': 'Memory',
    'skipped': 'Not measured',
}
DRAW: dict[str, Callable[[dict[str, Rows]], Plot]] = {
    'steps': _steps,
    'network': _networks,
    'decode': _decodings,
    'rate': _rates,
    'memory': _memory,
}
