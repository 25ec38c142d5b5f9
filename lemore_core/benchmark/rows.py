"""Rows of all kinds, as a table for people and as JSON for programs.

The JSON document is an object. Names are only ever added to it; ``version`` counts what breaks.

``format``: ``"lemore benchmark"``, ``version``: 1.
``machine``: what :class:`~lemore_core.benchmark.machine.Machine` holds.
``rows``: a list of objects. ``kind`` says what a row is, its other names are the fields of

========= ============================================================
steps     :class:`~lemore_core.benchmark.steps.StepsRow`
network   :class:`~lemore_core.benchmark.networks.NetworkRow`
decode    :class:`~lemore_core.benchmark.decoding.DecodeRow`
peak      :class:`~lemore_core.benchmark.peak.PeakRow`
rate      :class:`~lemore_core.benchmark.rate.RateRow`
memory    :class:`~lemore_core.benchmark.memory.MemoryRow`
skipped   :class:`~lemore_core.benchmark.cases.Skipped`
========= ============================================================

A name ends in its unit: ``_ms``, ``_mb`` (10^6 bytes), ``_hz``. What is spread is an object of
``median``, ``p95`` and ``p99``, of which the last two may be null.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol

from lemore_core.benchmark.machine import Machine

FORMAT = 'lemore benchmark'
VERSION = 1
GAP = '  '


class Row(Protocol):
    """A result: a dataclass that says what kind it is and how it is shown."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def kind(self) -> str:
        """The kind, see above."""

    def lines(self) -> list[dict[str, str]]:
        """Return its lines in a table of its kind: texts by columns."""


def document(rows: Sequence[Row], machine: Machine) -> dict[str, Any]:
    """Return the JSON document of rows, see above."""
    return {
        'format': FORMAT,
        'version': VERSION,
        'machine': dataclasses.asdict(machine),
        'rows': [{'kind': row.kind, **dataclasses.asdict(row)} for row in rows],
    }


def tables(rows: Sequence[Row]) -> list[list[dict[str, str]]]:
    """Return a table for each kind of rows: lines of the same columns, without empty columns."""
    found = []
    for _, group in itertools.groupby(rows, lambda row: row.kind):
        lines = [line for row in group for line in row.lines()]
        columns = list(dict.fromkeys(name for line in lines for name in line))
        filled = [name for name in columns if any(line.get(name) for line in lines)]
        found.append([{name: line.get(name, '') for name in filled} for line in lines])
    return found


def table_text(lines: Sequence[dict[str, str]]) -> str:
    """Return a table as aligned text: names and words to the left, numbers to the right."""
    columns = list(lines[0])
    widths = [max(len(name), *(len(line[name]) for line in lines)) for name in columns]
    numbers = [all(_is_number(line[name]) for line in lines) for name in columns]
    numbers[0] = False

    def laid_out(cells: Iterable[str]) -> str:
        aligned = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, numbers, strict=True)
        )
        return GAP.join(aligned).rstrip()

    return '\n'.join([laid_out(columns), *(laid_out(line.values()) for line in lines)])


def _is_number(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell[0] in '+-'
