"""Rows of all kinds, as tables for people and as JSON for programs.

The JSON document is an object of ``format`` (``"lemore benchmark"``), ``version`` (2), ``machine``
(:func:`~lemore_core.benchmark.machine.machine_facts`) and ``rows``. ``kind`` says what a row is, its
other names are the fields of the dataclass of that kind. A name ends in its unit: ``_ms``, ``_mb``
(10^6 bytes), ``_hz``. Percentiles are objects of ``median``, ``p95`` and ``p99``, of which the last
two may be null.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

FORMAT = 'lemore benchmark'
VERSION = 2


class Measurement(Protocol):
    """A result: a dataclass that says what kind it is and how it is shown."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def kind(self) -> str:
        """The kind, see above."""

    def lines(self) -> list[dict[str, str]]:
        """Return its lines in a table of its kind: texts by columns."""


def document(rows: Sequence[Measurement], machine: dict[str, str]) -> dict[str, Any]:
    """Return the JSON document of rows, see above."""
    return {
        'format': FORMAT,
        'version': VERSION,
        'machine': machine,
        'rows': [{'kind': row.kind, **dataclasses.asdict(row)} for row in rows],
    }


def tables(rows: Sequence[Measurement]) -> list[str]:
    """Return a table for each kind of rows, without empty columns."""
    return [_table(columns) for columns in columns_by_kind(rows)]


def columns_by_kind(rows: Sequence[Measurement]) -> list[list[list[str]]]:
    """Return the columns of a table for each kind of rows, each led by its name; no empty ones."""
    return [
        _columns([line for row in group for line in row.lines()])
        for _, group in itertools.groupby(rows, lambda row: row.kind)
    ]


def _columns(lines: Sequence[dict[str, str]]) -> list[list[str]]:
    names = dict.fromkeys(name for line in lines for name in line)
    columns = {name: [line.get(name, '') for line in lines] for name in names}
    return [[name, *cells] for name, cells in columns.items() if any(cells)]


def _table(columns: Sequence[list[str]]) -> str:
    """Return aligned text: words to the left, numbers to the right."""
    aligned: list[list[str]] = []
    for name, *cells in columns:
        width = max(map(len, [name, *cells]))
        is_number = aligned and all(not cell or cell[0] in '+-0123456789' for cell in cells)
        align = str.rjust if is_number else str.ljust
        aligned.append([align(cell, width) for cell in (name, *cells)])
    return '\n'.join('  '.join(row).rstrip() for row in zip(*aligned, strict=True))
