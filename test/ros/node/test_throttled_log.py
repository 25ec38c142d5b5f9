from __future__ import annotations

from typing import Any

import pytest
from rcl_interfaces.msg import Log

from lemore_ros.node.throttled_log import PERIOD_S, ThrottledLogger


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
