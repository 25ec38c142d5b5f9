"""A network that hangs ends the node, a process that is stopped goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

SLOW_NODE = Path(__file__).parent / 'slow_node.py'
NAME = '/lemore_segmentation'
HUNG = 71
TIMEOUT_S = 3


def test_a_network_that_hangs_ends_the_node_and_a_process_that_was_stopped_goes_on(
    graph: Any, start: Callable[..., Any]
) -> None:
    process = start(program=(str(SLOW_NODE), '0'), hang_timeout_s=float(TIMEOUT_S))
    labels = graph.labels()
    status = graph.collect(DiagnosticArray, '/diagnostics')
    camera = graph.publisher()
    graph.film(camera, graph.image(1), lambda: labels, 'labels')

    process.send_signal(signal.SIGSTOP)
    # nothing tells that it was stopped for long enough
    time.sleep(TIMEOUT_S + 1.5)
    process.send_signal(signal.SIGCONT)
    # what is sent before the process is awake may be lost: best effort
    before = len(labels)
    graph.film(camera, graph.image(2), lambda: labels[before:], 'labels after the stop')
    assert process.poll() is None

    black = graph.image(3)
    black.data = bytes(len(black.data))
    graph.film(camera, black, lambda: process.poll() is not None, 'the end')
    output, _ = process.communicate(timeout=30)
    assert process.returncode == HUNG
    reason = f'the network has not answered for {TIMEOUT_S + 1} s (hang_timeout_s)'
    assert f'{reason}: ends with exit code {HUNG}, start it again' in output
    former, last = (message.status[0] for message in status[-2:])
    assert former.level == last.level == DiagnosticStatus.ERROR
    assert former.message == f'the network has not answered for {TIMEOUT_S} s'
    assert last.message == f'the network has not answered for {TIMEOUT_S + 1} s'
