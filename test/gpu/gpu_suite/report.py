"""The figures as a table for people."""

from __future__ import annotations

from typing import Any


def to_table(figures: dict[str, Any]) -> str:
    """Return a Markdown table with a line for every number or remark."""
    lines = ['| figure | value |', '|---|---|']
    lines += [f'| {name} | {value} |' for name, value in _flat(figures, ())]
    return '\n'.join(lines) + '\n'


def _flat(values: dict[str, Any], path: tuple[str, ...]) -> list[tuple[str, str]]:
    rows = []
    for name, value in values.items():
        here = (*path, str(name))
        if isinstance(value, dict):
            rows += _flat(value, here)
        else:
            rows.append((': '.join(here), f'{value:.5g}' if isinstance(value, float) else value))
    return rows
