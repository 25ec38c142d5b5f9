from __future__ import annotations

import pytest

from lemore_core.benchmark.peak import RESOLUTION, find_peak, sustained
from lemore_core.benchmark.percentiles import Percentiles
from lemore_core.benchmark.rate import RateRow


def row_at(rate: float, *, dropped: int = 0, reached: float = 1.0) -> RateRow:
    return RateRow('', rate, rate * reached, 100, 100 - dropped, dropped, Percentiles(1.0), 0.5)


@pytest.mark.parametrize('capacity', [0.3, 7.0, 133.0, 900.0])
@pytest.mark.parametrize('start', [0.5, 50.0, 800.0])
def test_the_highest_rate_of_a_server_is_found(capacity: float, start: float) -> None:
    found = find_peak(lambda rate: row_at(rate, dropped=50 * (rate > capacity)), start, rates=30)
    assert found.peak_hz <= capacity < (found.too_much_hz or 0)
    assert (found.too_much_hz or 0) / found.peak_hz <= 1 + RESOLUTION
    assert found.probes < 60


def test_the_search_ends() -> None:
    assert find_peak(row_at, 10).too_much_hz is None
    hopeless = find_peak(lambda rate: row_at(rate, dropped=50), 10)
    assert (hopeless.peak_hz, hopeless.too_much_hz) == (0, 0.1)
    assert find_peak(row_at, 1, rates=4).peak_hz == 8


def test_drops_and_a_late_source_count_against_a_rate() -> None:
    assert sustained(row_at(10, dropped=4))
    assert not sustained(row_at(10, dropped=5))
    assert not sustained(row_at(10, reached=0.9))


def test_a_busy_moment_is_no_limit() -> None:
    tried: list[float] = []

    def probe(rate: float) -> RateRow:
        tried.append(rate)
        # every rate fails the first time that it is tried
        return row_at(rate, dropped=0 if rate <= 133 and tried.count(rate) > 1 else 50)

    found = find_peak(probe, 10)
    assert found.peak_hz <= 133 < found.peak_hz * (1 + RESOLUTION)
    assert found.best is not None
    assert found.best.dropped == 0
    assert found.probes == len(tried)


def test_the_row_tells_how_it_was_found() -> None:
    found = find_peak(lambda rate: row_at(rate, dropped=0 if rate <= 20 else 50), 10, 'server')
    assert found.peak_hz == 20
    assert found.best is not None
    assert found.best.rate_hz == 20
    never = find_peak(lambda rate: row_at(rate, dropped=50), 10)
    assert never.best is None
    assert never.lines()[0]['Hz'] == 'none'
