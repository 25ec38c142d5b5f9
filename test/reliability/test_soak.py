"""A short soak: nothing leaks, and every image is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

SOAK = Path(__file__).parent / 'soak.py'


def test_a_short_soak_meets_its_bars(start_python: Callable[..., Any]) -> None:
    process = start_python(str(SOAK), '--frames', '300')
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    rows = {line.split('|')[1].strip(): line for line in output.splitlines()[2:]}
    for name in ('threads', 'descriptors', 'images received'):
        assert rows[name].endswith('| met |'), output
