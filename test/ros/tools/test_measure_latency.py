"""The figures of a node, measured with real processes for a moment."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lemore_core.common.child import ChildError
from lemore_ros.tools import measure_latency
from lemore_ros.tools.measure_latency import Load, Reading, measure, round_trip
from lemore_ros.tools.probe import isolated_graph, start_node, wait_until

LOAD = Load((60, 80), 5.0, images=6, others=('overlay',))


def test_labels_come_back_with_the_nodes_own_figures(served: dict[str, Any]) -> None:
    found = measure(served, LOAD)
    assert found.sent == 6
    # best effort: a busy machine loses images
    assert 1 <= len(found.latencies_ms) <= found.increase('received') <= 6
    figures = round_trip(LOAD, found, found)
    assert figures['size'] == '80x60'
    for name in ('total_p50_ms', 'segmenter_p50_ms', 'work_p50_ms', 'work_with_overlay_p50_ms'):
        assert figures[name] > 0
    assert figures['rest_p50_ms'] < figures['total_p50_ms'] <= figures['total_p95_ms']


def test_the_images_that_reach_the_node_are_counted(
    served: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    figures = measure_latency.measure_transport(
        served, Load((1080, 1920), 10.0, images=20), profile=True
    )
    assert figures['sent'] == 20
    # with the defaults of Fast DDS some 7 in 100 arrive
    assert figures['received_percent'] == 5 * figures['received'] > 50
    measure_latency.print_table([figures])
    names, values = (line.split() for line in capsys.readouterr().out.splitlines())
    assert names == ['middleware', 'profile', 'sent', 'received', 'received_percent']
    assert values[1:3] == ['True', '20']


def test_the_rest_is_not_the_segmenters() -> None:
    before = {'received': '3', 'cpu_s': '5.00'}
    after = {'received': '10', 'cpu_s': '5.07', 'segmenter_p50_ms': '8.5', 'work_p50_ms': '0.5'}
    plain = Reading(7, [10.0, 12.0, 30.0], before, after)
    overlaid = Reading(7, [], before, after | {'work_p50_ms': '1.5'})
    assert round_trip(Load((480, 640), 10.0, 7), plain, overlaid) == {
        'size': '640x480',
        'sent': 7,
        'arrived': 3,
        'total_p50_ms': 12.0,
        'total_p95_ms': 28.2,
        'segmenter_p50_ms': 8.5,
        'rest_p50_ms': 3.5,
        'work_p50_ms': 0.5,
        'cpu_ms': 10.0,
        'work_with_overlay_p50_ms': 1.5,
    }


def test_a_node_that_cannot_start_is_named_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    with pytest.raises(ChildError, match=r'segmentation_node ended with code 1, see .*node\.log:'):
        measure({'model': 'gone.safetensors'}, LOAD)
    (log,) = tmp_path.glob('*/node.log')
    assert 'no checkpoint gone' in log.read_text()


def test_a_node_is_not_waited_for_forever(served: dict[str, Any], tmp_path: Path) -> None:
    with (
        start_node(served, tmp_path / 'log', isolated_graph()) as node,
        pytest.raises(ChildError, match=r'^ready: not within 1 s, see .*log$'),
    ):
        wait_until(lambda: False, 'ready', node, timeout_s=1)


def test_an_interrupt_while_a_message_is_converted_is_one(
    start_python: Callable[..., subprocess.Popen[str]],
) -> None:
    code = """
import os, rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lemore_ros.tools.probe import Peer
rclpy.init(args=[])
peer = Peer('peer', '/image', ())
publisher, message = peer.node.create_publisher(DiagnosticArray, '/diagnostics', 1), DiagnosticArray()
create = DiagnosticArray.__init__
def interrupt(message, **fields):
    create(message, **fields)
    os.kill(os.getpid(), 2)
DiagnosticArray.__init__ = interrupt
try:
    while True:
        publisher.publish(message)
        peer.spin(0.1)
except KeyboardInterrupt:
    print('interrupted')
"""
    process = start_python('-c', code, environ=isolated_graph())
    assert process.communicate(timeout=60) == ('interrupted\n', '')
