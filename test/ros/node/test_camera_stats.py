from __future__ import annotations

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from lemore_ros.node.camera_stats import (
    COUNTS,
    LONGEST_WAIT_S,
    NO_IMAGE_S,
    RATE_WINDOW_S,
    UNKNOWN_CLOCK,
    CameraStats,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> CameraStats:
    health = CameraStats(clock)
    health.expect_frames()
    return health


def test_everything_is_counted(health: CameraStats) -> None:
    for _ in range(6):
        health.count_received()
    health.count('skipped')
    health.count('dropped')
    for _ in range(3):
        health.count('accepted')
    health.count_labelled(10.0, 5.0, 1.0)
    health.count_labelled(None, 5.0, 1.0)
    health.count_failed('x')
    health.count('lost', 4)
    expected = {
        'received': 6, 'skipped': 1, 'dropped': 1, 'accepted': 3, 'failed': 1, 'lost': 4,
        'labelled': 2,
    }  # fmt: skip
    values = health.verdict().values
    assert {name: int(values[name]) for name in COUNTS} == expected
    assert {name: health[name] for name in COUNTS} == expected


def test_times_are_given_as_percentiles(health: CameraStats) -> None:
    assert health.verdict().values['age_p50_ms'] == 'nan'
    for number in range(1, 101):
        health.count_labelled(float(number), 2.0 * number, 0.5)
        health.add_intake(0.25)
    health.count_labelled(None, 101.0, 0.5)
    values = {name: float(value) for name, value in health.verdict().values.items()}
    assert values['age_p50_ms'] == pytest.approx(50.5, abs=0.1)
    assert values['age_p95_ms'] == pytest.approx(95.05, abs=0.1)
    assert values['segmenter_p50_ms'] == pytest.approx(101.0, abs=0.1)
    assert values['work_p50_ms'] == 0.75


def test_rates_are_of_the_last_seconds(health: CameraStats, clock: Clock) -> None:
    for number in range(20):
        clock.now += 0.1
        health.count_received()
        if number % 2:
            health.count_labelled(None, 1.0, 1.0)
    values = health.verdict().values
    assert float(values['rate_in_hz']) == pytest.approx(10.0)
    assert float(values['rate_hz']) == pytest.approx(5.0)
    clock.now += RATE_WINDOW_S + 1
    assert float(health.verdict().values['rate_hz']) == 0.0


def test_the_level_follows_what_happened(health: CameraStats, clock: Clock) -> None:
    health.count_received()
    assert health.verdict().level == DiagnosticStatus.OK
    health.count_failed('step is 3 bytes')
    assert health.verdict().level == DiagnosticStatus.ERROR
    assert 'step is 3 bytes' in health.verdict().message
    health.count_labelled(1.0, 1.0, 1.0)
    assert health.verdict().level == DiagnosticStatus.OK
    clock.now += NO_IMAGE_S
    assert health.verdict().level == DiagnosticStatus.WARN
    assert health.verdict().message == 'no image arrived for 3 s'
    assert health.silent_s() == NO_IMAGE_S
    health.count_received()
    assert health.verdict().level == DiagnosticStatus.OK


@pytest.mark.parametrize(
    ('every', 'level'), [(2, DiagnosticStatus.WARN), (30, DiagnosticStatus.OK)]
)
def test_a_camera_that_is_too_fast_is_reported(
    health: CameraStats, clock: Clock, every: int, level: bytes
) -> None:
    for number in range(300):
        clock.now += 1 / 60
        health.count_received()
        if number % every:
            health.count_labelled(1.0, 1.0, 1.0)
        else:
            health.count('dropped')
    report = health.verdict()
    assert report.level == level
    if level == DiagnosticStatus.WARN:
        assert report.message.startswith('falling behind: 30 of 60 images a second')
    clock.now += RATE_WINDOW_S
    health.count_received()
    assert health.verdict().level == DiagnosticStatus.OK


def test_who_expects_no_frames_misses_none(health: CameraStats, clock: Clock) -> None:
    health.expect_frames(idle='paused')
    clock.now += 100
    assert health.verdict().level == DiagnosticStatus.OK
    assert health.verdict().message == 'paused'
    assert health.silent_s() == 0.0
    health.expect_frames()
    assert health.verdict().message == 'segmenting'


def test_a_slow_camera_is_not_overdue(health: CameraStats, clock: Clock) -> None:
    for _ in range(3):
        health.count_received()
        clock.now += 10.0
    assert health.verdict().message == 'segmenting'
    assert health.silent_s() == 0.0
    clock.now += 20.0
    assert health.verdict().message == 'no image arrived for 30 s'
    clock.now += 1000.0
    health.count_received()
    clock.now += LONGEST_WAIT_S
    assert health.silent_s() == LONGEST_WAIT_S


def test_ages_of_another_clock_are_no_percentiles(health: CameraStats) -> None:
    health.count_labelled(None, 1.0, 1.0)
    values = health.verdict().values
    assert values['age_p50_ms'] == values['age_p95_ms'] == UNKNOWN_CLOCK
    health.count_labelled(7.0, 1.0, 1.0)
    assert health.verdict().values['age_p50_ms'] == '7.0'
