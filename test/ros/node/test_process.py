"""The node as a process of its own: how it starts, and how it ends."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sensor_msgs.msg import Image

from test.waiting import wait_for

LABELS = '/lemore_segmentation/labels'
WAIT_S = 60

Start = Callable[..., 'subprocess.Popen[str]']


@pytest.mark.parametrize('executor', ['single', 'events'])
def test_it_starts_itself_and_ends_in_good_order_with_a_frame_in_flight(
    graph: Any, start: Start, executor: str
) -> None:
    if executor == 'events':
        pytest.importorskip('rclpy.experimental')
    process = start(executor=executor)
    labels = graph.collect(Image, LABELS)
    camera = graph.publisher()
    # larger ones get lost on the way to another process
    message = graph.image(1, size=(240, 320))

    graph.film(camera, message, lambda: len(labels) >= 3, 'labels')
    process.send_signal(signal.SIGTERM)
    graph.film(camera, message, lambda: process.poll() is not None, 'the end')
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, output
    assert 'Traceback' not in output
    assert 'ERROR' not in output


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ({'backend': 'caffe'}, "cannot start: backend is 'caffe', allowed: one of auto"),
        ({'use_sim_time': 1}, "'use_sim_time' to '1' of type 'INTEGER', expecting type 'BOOL'"),
        ({'model': 'gr\udcf6n.onnx'}, "cannot start: UnicodeEncodeError: 'utf-8' codec can't"),
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


def test_parameters_before_ros_args_are_named(start: Start) -> None:
    module = ('-m', 'lemore_ros.node.segmentation_node')
    process = start(program=(*module, '-p', 'backend:=torch'), model='gone.onnx')
    output, _ = process.communicate(timeout=WAIT_S)
    assert "'-p backend:=torch' sets no parameter: write --ros-args -p NAME:=VALUE" in output


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_stopping_while_its_modules_are_imported_is_no_failure(
    start_python: Start, tmp_path: Path, number: signal.Signals
) -> None:
    # found before the real one
    code = "import pathlib, time\npathlib.Path(__file__, '..', 'begun').resolve().touch()\ntime.sleep(600)"
    (tmp_path / 'rclpy.py').write_text(code)
    process = start_python(
        *('-m', 'lemore_ros.node.segmentation_node'),
        environ={'PYTHONPATH': f'{tmp_path}:{Path(__file__).parents[3]}'},
        stderr=subprocess.STDOUT,
    )
    wait_for((tmp_path / 'begun').exists)
    process.send_signal(number)
    output, _ = process.communicate(timeout=WAIT_S)
    assert (process.returncode, output) == (0, '')


def test_stopping_while_a_model_loads_is_no_failure_and_tears_nothing_down(
    start: Start, tmp_path: Path
) -> None:
    begun = tmp_path / 'begun'
    code = f"""
import atexit, pathlib, time
from lemore_ros.node import segmentation_node
class Late:
    def __del__(self):
        print('torn down')
late = Late()
atexit.register(print, 'exit handlers ran')
def load(_):
    pathlib.Path({str(begun)!r}).touch()
    time.sleep(600)
segmentation_node.load_segmenter = load
segmentation_node.run()
"""
    process = start(program=('-c', code))
    wait_for(begun.exists)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=WAIT_S)
    assert (process.returncode, output) == (0, 'exit handlers ran\n')


def test_interrupts_that_become_other_errors_or_come_last_are_no_failure(start: Start) -> None:
    code = """
import os, rclpy
from lemore_ros.node import segmentation_node
def load(_):
    try:
        os.kill(os.getpid(), 2)
    except KeyboardInterrupt:
        raise RuntimeError('by bindings') from None
def shut_down(former=rclpy.try_shutdown):
    former()
    os.kill(os.getpid(), 15)
segmentation_node.load_segmenter, rclpy.try_shutdown = load, shut_down
segmentation_node.run()
"""
    process = start(program=('-c', code))
    output, _ = process.communicate(timeout=WAIT_S)
    assert 'cannot configure: RuntimeError: by bindings' in output
    assert (process.returncode, 'Traceback' in output) == (0, False), output
