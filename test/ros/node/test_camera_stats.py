from __future__ import annotations

from math import nan

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from lemore_ros.node import diagnostics
from lemore_ros.node.camera import RateLimit, Reception
from lemore_ros.node.diagnostics import LONGEST_WAIT_S, NO_IMAGE_S, RATE_WINDOW_S, CameraStats
from test.waiting import Clock

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stats(clock: Clock) -> CameraStats:
    stats = CameraStats(clock)
    stats.expect_frames()
    return stats


def test_times_are_given_as_percentiles(stats: CameraStats) -> None:
    assert stats.health().values['age_p50_ms'] == 'nan'
    stats.add_times(age=nan)
    assert stats.health().values['age_p50_ms'] == diagnostics.UNKNOWN_CLOCK
    for number in range(1, 101):
        stats.add_times(age=number, segmenter=2.0 * number, work=0.5, intake=0.25)
    values = stats.health().values
    assert values['age_p50_ms'] == '50.5'
    assert float(values['age_p95_ms']) == pytest.approx(95.05, abs=0.1)
    assert (values['segmenter_p50_ms'], values['work_p50_ms']) == ('101.0', '0.75')


def test_rates_are_of_the_last_seconds(stats: CameraStats, clock: Clock) -> None:
    for number in range(20):
        clock.now += 0.1
        stats.count('received')
        if number % 2:
            stats.count_labelled()
    values = stats.health().values
    assert (values['rate_in_hz'], values['rate_hz']) == ('10.00', '5.00')
    assert values['labelled'] == str(stats['labelled']) == '10'
    clock.now += RATE_WINDOW_S + 1
    assert stats.health().values['rate_hz'] == '0.00'


def test_a_scene_that_stays_unfamiliar_is_a_warning(stats: CameraStats, clock: Clock) -> None:
    def after(seconds: float, *figures: float | None) -> tuple[bytes, str]:
        clock.now += seconds
        stats.count('received')
        stats.count_labelled('', *figures)
        return stats.health()[:2]

    assert after(1, None, None) == (OK, 'segmenting')
    assert 'familiarity' not in stats.health().values
    assert after(1, 0.0, 0.94)[0] == OK
    # a frame in between that is hardly familiar changes nothing
    assert after(2, 0.06, 0.94)[0] == OK
    text = 'this scene is unlike the training data since 12 s: familiarity 0.00'
    assert after(10, 0.0, 0.94) == (WARN, f'segmenting, {text}, mean confidence 0.94')
    assert stats.health().values['familiarity'] == '0.000'
    assert after(0, 0.001, None) == (WARN, f'segmenting, {text}')
    assert after(1, 0.5, 0.94) == (OK, 'segmenting')


def test_the_level_follows_what_happened(stats: CameraStats, clock: Clock) -> None:
    def says(level: bytes, message: str) -> None:
        assert stats.health()[:2] == (level, message)

    stats.count('received')
    says(OK, 'segmenting')
    stats.count_failed('step is 3 bytes')
    says(ERROR, 'the last frame failed: step is 3 bytes')
    stats.count_labelled(resized='preparing 8x8')
    says(OK, 'segmenting, preparing 8x8')
    clock.now += NO_IMAGE_S
    says(WARN, 'no image arrived for 3 s')
    assert stats.silent_s() == NO_IMAGE_S
    stats.explain_silence('/image: nobody publishes it')
    says(WARN, 'no image arrived for 3 s: /image: nobody publishes it')
    stats.count('received')
    clock.now += 100
    says(WARN, 'no image arrived for 100 s')
    stats.expect_frames(idle='paused')
    clock.now += 100
    says(OK, 'paused')
    assert stats.silent_s() == 0.0


@pytest.mark.parametrize(('every', 'level'), [(2, WARN), (30, OK)])
def test_a_camera_that_is_too_fast_is_reported(
    stats: CameraStats, clock: Clock, every: int, level: bytes
) -> None:
    for number in range(300):
        clock.now += 1 / 60
        stats.count('received')
        stats.count('labelled' if number % every else 'dropped')
    health = stats.health()
    assert health.level == level
    behind = 'falling behind: 30 of 60 images a second'
    assert health.message.startswith(behind if level == WARN else 'segmenting')
    clock.now += RATE_WINDOW_S
    stats.count('received')
    assert stats.health().level == OK


def test_a_slow_camera_is_not_overdue(stats: CameraStats, clock: Clock) -> None:
    for _ in range(3):
        stats.count('received')
        clock.now += 10.0
    assert stats.health().message == 'segmenting'
    assert stats.silent_s() == 0.0
    clock.now += 20.0
    assert stats.health().message == 'no image arrived for 30 s'
    clock.now += 1000.0
    stats.count('received')
    clock.now += LONGEST_WAIT_S
    assert stats.silent_s() == LONGEST_WAIT_S


@pytest.mark.parametrize(
    ('camera_hz', 'rate_hz', 'expected'),
    [(30, 15, 15), (30, 20, 20), (30, 1, 1), (30, 30, 30), (10, 15, 10), (30, 0, 30), (60, 7, 7)],
)
def test_a_rate_is_held_in_spite_of_jitter(
    clock: Clock, camera_hz: float, rate_hz: float, expected: float
) -> None:
    limit = RateLimit(clock)
    for _ in range(3):
        start, count = clock.now, 0
        for number in range(int(10 * camera_hz)):
            clock.now = start + (number + 0.1 * (-1) ** number) / camera_hz
            count += limit.admits(rate_hz)
        clock.now = start + 10
        assert count / 10 == pytest.approx(expected, abs=0.3)


def test_a_pause_is_not_made_up_for_and_another_rate_counts_at_once(clock: Clock) -> None:
    limit = RateLimit(clock)
    for _ in range(3):
        assert limit.admits(1.0)
        clock.now += 0.1
        assert not limit.admits(1.0)
        clock.now += 100.0
    limit = RateLimit(clock)
    assert [limit.admits(rate_hz) for rate_hz in (0.01, 0.01, 10.0)] == [True, False, False]
    clock.now += 0.1
    assert limit.admits(10.0)


def test_numbers_and_reports_of_one_loss_count_once() -> None:
    reception = Reception()
    steps: list[tuple[int | None, int, str | None, int]] = [
        # number, lost by the middleware's report, publisher, how many more that makes
        (None, 3, 'a', 3),
        (7, 0, 'a', 0),
        (8, 0, 'a', 0),
        (11, 0, 'a', 2),
        (None, 2, 'a', 0),
        (13, 0, 'a', 1),
        (20, 0, 'a', 6),
        (1, 0, 'b', 0),
        (None, 1, 'b', 0),
        (5, 0, 'b', 3),
        (30, 0, None, 0),
        (None, 2, None, 2),
        (40, 0, 'b', 0),
        (42, 0, 'b', 1),
    ]
    for number, lost, publisher, expected in steps:
        before = reception.lost
        more = reception.report(lost) if lost else reception.add(number, lambda p=publisher: p)
        assert more == expected, (number, lost, publisher)
        assert reception.lost == (before + lost if lost else 0)
