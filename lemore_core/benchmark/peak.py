"""The highest rate at which hardly an image is dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from lemore_core.benchmark.rate import RateRow

MOST_DROPPED = 0.05
LEAST_REACHED = 0.95  # of the rate asked for, else the source was the limit
RESOLUTION = 0.03
MOST_RATES = 16
HIGHEST, LOWEST = 2000.0, 0.1


@dataclass(frozen=True)
class PeakRow:
    """The highest rate with less than 5% of the images dropped, and how it was found.

    ``best`` is the probe at that rate, None where no rate passed.
    """

    kind = 'peak'
    name: str
    peak_hz: float
    too_much_hz: float | None
    probes: int
    best: RateRow | None

    def lines(self) -> list[dict[str, str]]:
        """Return it by the columns of a table."""
        line = {
            'peak rate, under 5% dropped': self.name,
            'Hz': f'{self.peak_hz:.1f}' if self.best else 'none',
            'fails at Hz': '' if self.too_much_hz is None else f'{self.too_much_hz:.1f}',
        }
        if self.best is not None:
            line |= {
                **self.best.latency_ms.columns(),
                'dropped': f'{100 * self.best.drop_share:.1f}%',
                'CPU load': f'{self.best.cpu_load:.2f}',
                'images there': str(self.best.posted),
            }
        return [line | {'probes': str(self.probes)}]


class Search(NamedTuple):
    """The highest rate that passed (0: none), the lowest that failed, and how many were tried."""

    passed: float
    failed: float | None
    probes: int


def find_peak(
    probe: Callable[[float], RateRow], start: float, name: str = '', rates: int = MOST_RATES
) -> PeakRow:
    """Double a rate until it fails, or halve it until it passes, then bisect between the two.

    ``probe`` tries a rate for a few seconds; it is asked for ``rates`` different ones at most. A
    rate that fails is tried once more: the machine may have been busy with something else.
    """
    best: RateRow | None = None

    def passes(rate: float) -> bool:
        nonlocal best
        row = probe(rate)
        if sustained(row):
            best = row
        return sustained(row)

    found = search_rate(passes, start, rates)
    return PeakRow(name, found.passed, found.failed, found.probes, best)


def search_rate(passes: Callable[[float], bool], start: float, rates: int = MOST_RATES) -> Search:
    """Find the highest rate that passes, as :func:`find_peak` does."""
    passed, failed, probes = 0.0, None, 0
    rate = min(max(start, LOWEST), HIGHEST)
    for _ in range(rates):
        is_passed, probes = passes(rate), probes + 1
        if not is_passed:
            is_passed, probes = passes(rate), probes + 1
        if is_passed:
            passed = rate
        else:
            failed = rate
        if failed is None and passed < HIGHEST:
            rate = min(2 * passed, HIGHEST)
        elif failed is not None and passed == 0 and failed > LOWEST:
            rate = max(failed / 2, LOWEST)
        elif failed is not None and passed and failed / passed > 1 + RESOLUTION:
            rate = (passed + failed) / 2
        else:
            break
    return Search(passed, failed, probes)


def sustained(row: RateRow) -> bool:
    """Whether under 5% were dropped and the images did come at the rate that was asked for."""
    return row.drop_share < MOST_DROPPED and row.posted_hz >= LEAST_REACHED * row.rate_hz
