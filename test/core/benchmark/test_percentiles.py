from __future__ import annotations

import numpy as np
import pytest

from lemore_core.benchmark.percentiles import Percentiles, percentiles, robust_slope


def test_percentiles_lie_between_the_nearest_two() -> None:
    found = percentiles([float(n) for n in range(101)][::-1])
    assert found == Percentiles(50.0, 95.0, 99.0)
    assert percentiles([1.0, 2.0]).p95 == pytest.approx(1.95)
    assert percentiles([7.0]) == Percentiles(7.0, 7.0, 7.0)


def test_what_is_not_known_is_left_blank() -> None:
    assert Percentiles(1.0).columns() == {'median ms': '1.00', 'p95 ms': '', 'p99 ms': ''}


def test_a_slope_is_found_through_noise() -> None:
    images = np.arange(50) * 200.0
    noise = np.random.default_rng(0).normal(0, 0.5, 50)
    assert robust_slope(images, 100 + 0.003 * images + noise) == pytest.approx(0.003, rel=0.1)


def test_one_jump_is_no_growth() -> None:
    memory = np.r_[np.full(5, 100.0), np.full(45, 140.0)]
    assert robust_slope(np.arange(50.0), memory) == 0


def test_a_slope_needs_two_points() -> None:
    assert robust_slope([1.0], [2.0]) == 0
    assert robust_slope([1.0, 1.0], [2.0, 3.0]) == 0
