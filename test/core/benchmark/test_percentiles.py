from __future__ import annotations

import pytest

from lemore_core.benchmark.percentiles import Percentiles, percentiles


def test_percentiles_lie_between_the_nearest_two() -> None:
    found = percentiles([float(n) for n in range(101)][::-1])
    assert found == Percentiles(50.0, 95.0, 99.0)
    assert percentiles([1.0, 2.0]).p95 == pytest.approx(1.95)
    assert percentiles([7.0]) == Percentiles(7.0, 7.0, 7.0)


def test_what_is_not_known_is_left_blank() -> None:
    assert Percentiles(1.0).columns() == {'median ms': '1.00', 'p95 ms': '', 'p99 ms': ''}
