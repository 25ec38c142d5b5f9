"""The soak tool, for as long as a test may take: nothing leaks, and no image is lost count of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_a_short_soak_meets_its_bars(start_python: Callable[..., Any]) -> None:
    process = start_python('-m', 'lemore_ros.tools.soak', '--frames', '300')
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    rows = {line.split('|')[1].strip(): line for line in output.splitlines()[2:]}
    for name in ('threads', 'descriptors', 'images received'):
        assert rows[name].endswith('| met |'), output
