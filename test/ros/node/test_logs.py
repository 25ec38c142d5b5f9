from __future__ import annotations

import logging
from typing import Any

import pytest

from lemore_ros.node.logs import EPISODE_S, MOST, PERIOD_S, ThrottledLogger
from test.waiting import Clock

NAME = 'lemore_segmentation'


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, line: str) -> None:
        self.lines.append(line)

    error = warning


def test_each_kind_of_each_topic_is_logged_now_and_then(graph: Any) -> None:
    clock = Clock()
    log = graph.log()
    logger = graph.peer.get_logger()
    front, rear = (ThrottledLogger(logger, topic, clock) for topic in ('/front', '/rear'))
    for _ in range(3):
        front.log(logging.WARNING, 'no stamp')
        front.log(logging.ERROR, 'no pixels')
        rear.log(logging.WARNING, 'no stamp')
    clock.now += PERIOD_S
    front.log(logging.WARNING, 'frame \x1b]0;mine\x07\r\n\u202e über')
    graph.wait_for(lambda: len(log) == 4, 'four lines')
    assert [(entry.level, entry.msg) for entry in log] == [
        (30, '/front: no stamp'),
        (40, '/front: no pixels'),
        (30, '/rear: no stamp'),
        (30, '/front: frame \\x1b]0;mine\\x07\\r\\n\\u202e über'),
    ]


def test_any_number_of_kinds_is_a_few_lines_and_an_episode_is_one() -> None:
    clock, lines = Clock(), Lines()
    throttled = ThrottledLogger(lines, '/image', clock)
    for number in range(100):
        throttled.log(logging.ERROR, f'text {chr(65 + number)} of frame {number}')
        throttled.log(logging.ERROR, f'text A of frame {number}')
    assert lines.lines == [f'/image: text {"ABCDE"[n]} of frame {n}' for n in range(MOST)]
    clock.now += PERIOD_S
    throttled.log(logging.ERROR, 'text A')
    assert len(lines.lines) == MOST + 1
    for _ in range(100):
        throttled.log(logging.WARNING, 'lost', once=True)
        clock.now += 0.9 * EPISODE_S
    assert len(lines.lines) == MOST + 2
    clock.now += EPISODE_S
    throttled.log(logging.WARNING, 'lost', once=True)
    assert len(lines.lines) == MOST + 3


@pytest.mark.usefixtures('active')
def test_the_log_of_the_library_reaches_rosout(graph: Any) -> None:
    log = graph.log()
    library = logging.getLogger('lemore_core.inference')
    library.debug('not of interest')
    library.info('building an %s', 'engine')
    library.warning('the cache is full')
    library.error('the build failed')
    graph.wait_for(lambda: len(log) >= 3)
    assert [(m.level, m.name, m.msg) for m in log] == [
        (20, NAME, 'building an engine'),
        (30, NAME, 'the cache is full'),
        (40, NAME, 'the build failed'),
    ]


def test_closed_nodes_leave_the_log_of_the_library_as_it_was(graph: Any) -> None:
    library = logging.getLogger('lemore_core')
    before = library.level, list(library.handlers)
    first, second = (graph.node(**graph.untrained) for _ in range(2))
    graph.nodes.clear()
    first.close()
    assert library.level == logging.INFO
    second.close()
    assert (library.level, library.handlers) == before
