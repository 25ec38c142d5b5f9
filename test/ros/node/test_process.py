"""The node as a process of its own: how it starts, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import Image

LABELS = '/lemore_segmentation/labels'
WAIT_S = 60

Start = Callable[..., 'subprocess.Popen[str]']


@pytest.mark.parametrize('executor', ['single', 'events'])
def test_it_starts_itself_and_ends_in_good_order_with_a_frame_in_flight(
    graph: Any, start: Start, make_image: Callable[..., Image], executor: str
) -> None:
    if executor == 'events':
        pytest.importorskip('rclpy.experimental')
    process = start(executor=executor)
    labels = graph.collect(Image, LABELS)
    camera = graph.publisher()
    message = make_image(1, size=(540, 960))

    graph.film(camera, message, lambda: len(labels) >= 3, 'labels')
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        camera.publish(message)
        graph.executor.spin_once(timeout_sec=0.005)
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, output
    assert 'Traceback' not in output
    assert 'ERROR' not in output


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ({'backend': 'caffe'}, "cannot start: backend is 'caffe', allowed: one of auto"),
        ({'model': 'gone.safetensors'}, 'cannot configure: there is no checkpoint gone'),
    ],
)
def test_what_cannot_start_says_so_in_one_line_and_exits_with_1(
    start: Start, values: dict[str, Any], expected: str
) -> None:
    process = start(**values)
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    lines = output.strip().splitlines()
    assert len(lines) == 1, output
    assert expected in lines[0]


@pytest.mark.parametrize('autostart', ['true', 'false'])
def test_stopping_during_an_export_ends_it_and_leaves_nothing(
    graph: Any,
    start: Start,
    untrained: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    autostart: str,
) -> None:
    cache, temporary = tmp_path / 'cache', tmp_path / 'temporary'
    temporary.mkdir()
    monkeypatch.setenv('XDG_CACHE_HOME', str(cache))
    monkeypatch.setenv('TMPDIR', str(temporary))
    process = start(**untrained | {'backend': 'onnxruntime'}, autostart=autostart)
    if autostart == 'false':
        assert graph.state('/lemore_segmentation') == 'unconfigured'
        client = graph.peer.create_client(ChangeState, '/lemore_segmentation/change_state')
        graph.wait_for(client.service_is_ready, 'the node')
        configure = Transition(id=Transition.TRANSITION_CONFIGURE)
        client.call_async(ChangeState.Request(transition=configure))
    graph.wait_for(lambda: list(temporary.glob('lemore-export-*')), 'an export')
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, output
    assert all('exporting' in line for line in output.splitlines()), output
    assert not list(temporary.glob('lemore-*'))
    assert not list(cache.rglob('*.onnx'))
