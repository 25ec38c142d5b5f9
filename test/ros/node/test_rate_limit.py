from __future__ import annotations

import pytest

from lemore_ros.node.rate_limit import RateLimit


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def admitted(limit: RateLimit, clock: Clock, camera_hz: float, rate_hz: float) -> int:
    """Count the frames of ten seconds that are admitted; each comes a little early or late."""
    start, count = clock.now, 0
    for number in range(int(10 * camera_hz)):
        clock.now = start + (number + 0.1 * (-1) ** number) / camera_hz
        count += limit.admits(rate_hz)
    clock.now = start + 10
    return count


@pytest.mark.parametrize(
    ('camera_hz', 'rate_hz', 'expected'),
    [(30, 15, 15), (30, 20, 20), (30, 1, 1), (30, 30, 30), (10, 15, 10), (30, 0, 30), (60, 7, 7)],
)
def test_the_rate_is_held_in_spite_of_jitter(
    camera_hz: float, rate_hz: float, expected: float
) -> None:
    clock = Clock()
    limit = RateLimit(clock)
    for _ in range(3):
        assert admitted(limit, clock, camera_hz, rate_hz) / 10 == pytest.approx(expected, abs=0.3)


def test_a_pause_is_not_made_up_for() -> None:
    clock = Clock()
    limit = RateLimit(clock)
    for _ in range(3):
        assert limit.admits(1.0)
        clock.now += 0.1
        assert not limit.admits(1.0)
        clock.now += 100.0


def test_another_rate_counts_at_once() -> None:
    clock = Clock()
    limit = RateLimit(clock)
    assert limit.admits(0.01)
    assert not limit.admits(0.01)
    assert not limit.admits(10.0)
    clock.now += 0.1
    assert limit.admits(10.0)
