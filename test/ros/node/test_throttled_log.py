from __future__ import annotations

from typing import Any

import pytest
from rcl_interfaces.msg import Log

from lemore_ros.node.throttled_log import EPISODE_S, MOST, PERIOD_S, ThrottledLogger


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_each_kind_of_each_topic_is_said_now_and_then(graph: Any, clock: Clock) -> None:
    log = graph.collect(Log, '/rosout')
    logger = graph.peer.get_logger()
    front, rear = (ThrottledLogger(logger, topic, clock) for topic in ('/front', '/rear'))
    for _ in range(3):
        front.warn('stamp', 'no stamp')
        front.error('image', 'no pixels')
        rear.warn('stamp', 'no stamp')
    clock.now += PERIOD_S
    front.warn('stamp', 'still no stamp')
    graph.wait_for(lambda: len(log) == 4, 'four lines')
    assert [(entry.level, entry.msg) for entry in log] == [
        (30, '/front: no stamp'),
        (40, '/front: no pixels'),
        (30, '/rear: no stamp'),
        (30, '/front: still no stamp'),
    ]


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, line: str) -> None:
        self.lines.append(line)

    error = warning


def test_trouble_of_any_number_of_kinds_is_a_few_lines(clock: Clock) -> None:
    lines = Lines()
    trouble = ThrottledLogger(lines, '/image', clock)
    for number in range(100):
        trouble.error(f'kind {number}', f'text {number}')
    assert lines.lines == [f'/image: text {number}' for number in range(MOST)]
    clock.now += PERIOD_S
    trouble.error('kind 0', 'text 0')
    assert len(lines.lines) == MOST + 1


def test_an_episode_is_one_line(clock: Clock) -> None:
    lines = Lines()
    trouble = ThrottledLogger(lines, '/image', clock)
    for _ in range(100):
        trouble.warn_once('lost', 'lost')
        clock.now += 0.9 * EPISODE_S
    assert len(lines.lines) == 1
    clock.now += EPISODE_S
    trouble.warn_once('lost', 'lost')
    assert len(lines.lines) == 2


def test_nothing_commands_the_terminal(clock: Clock) -> None:
    lines = Lines()
    trouble = ThrottledLogger(lines, '/image', clock)
    trouble.warn('a', 'frame \x1b]0;mine\x07\r\n\u202e über')
    assert lines.lines == ['/image: frame \\x1b]0;mine\\x07\\r\\n\\u202e über']
