from __future__ import annotations

import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from lemore_ros.health import RATE_WINDOW_S, SILENCE_S, Health, Identity

IDENTITY = Identity('lemore_segmentation: segmentation', 'torch', 'cpu', 'tiny', 'camvid')
KEYS = [
    'received', 'dropped', 'accepted', 'failed', 'lost', 'labelled', 'rate_hz',
    'latency_p50_ms', 'latency_p95_ms', 'backend', 'device', 'model', 'dataset',
]  # fmt: skip


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    health = Health(IDENTITY, clock)
    health.expect_frames()
    return health


def status(health: Health) -> DiagnosticStatus:
    return health.to_message(Time(sec=7)).status[0]


def values(health: Health) -> dict[str, str]:
    return {entry.key: entry.value for entry in status(health).values}


def test_the_message_names_the_node_and_what_serves_it(health: Health) -> None:
    array = health.to_message(Time(sec=7))
    assert array.header.stamp.sec == 7
    assert array.status[0].name == 'lemore_segmentation: segmentation'
    assert array.status[0].hardware_id == 'cpu'
    assert [entry.key for entry in array.status[0].values] == KEYS
    found = values(health)
    assert found['backend'] == 'torch'
    assert found['model'] == 'tiny'
    assert found['dataset'] == 'camvid'
    assert found['latency_p50_ms'] == 'nan'


def test_everything_is_counted(health: Health) -> None:
    for _ in range(5):
        health.count_received()
    health.count_dropped()
    for _ in range(3):
        health.count_accepted()
    health.count_labelled(10.0)
    health.count_labelled(None)
    health.count_failed('x')
    health.count_lost(4)
    found = values(health)
    counts = {key: int(found[key]) for key in KEYS[:6]}
    assert counts == {
        'received': 5, 'dropped': 1, 'accepted': 3, 'failed': 1, 'lost': 4, 'labelled': 2,
    }  # fmt: skip


def test_latency_is_told_by_percentiles(health: Health) -> None:
    for latency in range(1, 101):
        health.count_labelled(float(latency))
    found = values(health)
    assert float(found['latency_p50_ms']) == pytest.approx(50.5, abs=0.1)
    assert float(found['latency_p95_ms']) == pytest.approx(95.05, abs=0.1)


def test_the_rate_is_of_the_last_seconds(health: Health, clock: Clock) -> None:
    for _ in range(20):
        clock.now += 0.1
        health.count_labelled(None)
    assert float(values(health)['rate_hz']) == pytest.approx(10.0)
    clock.now += RATE_WINDOW_S + 1
    assert float(values(health)['rate_hz']) == 0.0


def test_the_level_follows_what_happened(health: Health, clock: Clock) -> None:
    health.count_received()
    assert status(health).level == DiagnosticStatus.OK
    health.count_failed('step is 3 bytes')
    assert status(health).level == DiagnosticStatus.ERROR
    assert 'step is 3 bytes' in status(health).message
    health.count_labelled(1.0)
    assert status(health).level == DiagnosticStatus.OK
    clock.now += SILENCE_S
    assert status(health).level == DiagnosticStatus.WARN
    assert status(health).message == 'no image arrived for 3 s'
    health.count_received()
    assert status(health).level == DiagnosticStatus.OK


def test_who_expects_no_frames_misses_none(health: Health, clock: Clock) -> None:
    health.expect_frames(idle='paused')
    clock.now += 100
    assert status(health).level == DiagnosticStatus.OK
    assert status(health).message == 'paused'
    health.expect_frames()
    assert status(health).message == 'labelling'
