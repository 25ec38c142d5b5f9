"""The figures of a node, measured with real processes for a moment."""

from __future__ import annotations

import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from lemore_ros.messages.stamps import read_stamp
from lemore_ros.tools import measure_latency
from lemore_ros.tools.child import ChildError
from lemore_ros.tools.measuring import (
    Load,
    MeasuredNode,
    Reading,
    measure_memory,
    round_trip,
)
from lemore_ros.tools.probe import serialised_street

ROOT = Path(__file__).parents[3]


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that are started import this project."""
    monkeypatch.setenv('PYTHONPATH', f'{ROOT}:{os.environ.get("PYTHONPATH", "")}')


def reading(latencies_ms: list[float], **figures: str) -> Reading:
    before = {'camera': {'received': '3', 'cpu_s': '5.00'}}
    after = {'camera': {'received': '10', 'cpu_s': '5.07', **figures}}
    return Reading(sent=7, latencies_ms=latencies_ms, before=before, after=after)


@pytest.mark.usefixtures('importable')
def test_labels_of_every_camera_come_back_and_the_node_says_what_it_did(
    served: dict[str, Any],
) -> None:
    target = MeasuredNode(served)
    load = Load((80, 60), 5.0, count=6, cameras=('front', 'rear'), others=('overlay',))
    found = target.measure(load)
    assert found.sent == 6
    assert 10 <= len(found.latencies_ms) <= 12
    assert 10 <= found.increase('received') <= 12
    assert min(found.latencies_ms) > 0
    assert found.figure('work_p50_ms') > 0
    assert found.figure('memory_mb') > 50
    assert found.cpu_ms > 0
    # of both cameras
    assert len(found.sent_ms) == 12
    assert len(found.arrived_ms) == len(found.latencies_ms)


def test_memory_is_that_of_a_node_with_so_many_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Load] = []

    def measure(_: MeasuredNode, load: Load) -> Reading:
        loads.append(load)
        return reading([], memory_mb='400')

    monkeypatch.setattr(MeasuredNode, 'measure', measure)
    load = Load((640, 480), 10.0, 5)
    assert [measure_memory(MeasuredNode(), load, n) for n in (1, 2)] == [
        {'cameras': 1, 'memory_mb': 400.0},
        {'cameras': 2, 'memory_mb': 400.0},
    ]
    assert [load.cameras for load in loads] == [('',), ('camera0', 'camera1')]


def test_what_is_not_the_segmenters_is_the_rest() -> None:
    load = Load((640, 480), 10.0, 7)
    plain = reading([10.0, 12.0, 30.0], segmenter_p50_ms='8.5', work_p50_ms='0.5')
    assert round_trip(load, plain, reading([], work_p50_ms='1.5')) == {
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
    assert plain.increase('received') == 7
    assert math.isnan(plain.figure('no such figure'))


def test_the_image_of_the_probe_is_a_street() -> None:
    data = serialised_street(64, 48)
    image = deserialize_message(bytes(data), Image)
    assert (image.height, image.width, image.step, image.encoding) == (48, 64, 192, 'bgr8')
    assert len(image.data) == 48 * 192
    assert read_stamp(data) == 0


def test_a_node_that_cannot_start_is_named_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    with pytest.raises(ChildError, match=r'node ended with status 1(.|\n)*no checkpoint gone'):
        MeasuredNode({'model': 'gone.safetensors'}).measure(Load((80, 60), 10.0, 1))
    assert sorted(path.name for path in tmp_path.glob('*/*')) == ['node.log', 'probe.log']


@pytest.mark.usefixtures('importable')
def test_a_running_node_is_measured_where_it_is(graph: Any, untrained: dict[str, Any]) -> None:
    node = graph.node(
        **untrained, namespace='robot', cli_args=['--ros-args', '-r', 'image:=/camera']
    )
    assert node.start()
    attached = MeasuredNode(attach='/robot/lemore_segmentation', image_topic='/camera')
    with ThreadPoolExecutor(1) as pool:
        measured = pool.submit(attached.measure, Load((80, 60), rate_hz=5.0, count=5))
        while not measured.done():
            graph.executor.spin_once(timeout_sec=0.05)
    assert len(measured.result().latencies_ms) >= 4


def test_figures_are_a_table_or_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = [{'cameras': 1, 'memory_mb': 400.0}, {'cameras': 2, 'memory_mb': math.nan}]
    monkeypatch.setattr(measure_latency, 'measure', lambda _: figures)
    assert measure_latency.main(['--cameras', '2', '--json']) == 0
    assert json.loads(capsys.readouterr().out) == [
        {'cameras': 1, 'memory_mb': 400.0},
        {'cameras': 2, 'memory_mb': None},
    ]
    assert measure_latency.main(['--cameras', '2']) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [['cameras', 'memory_mb'], ['1', '400.0'], ['2', 'nan']]


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--sizes', '640'], "'640' is no size such as 640x480"),
        (['--rate', '0'], "'0' is no number above 0"),
        (['--attach', '/node', '--transport'], 'not allowed with argument'),
    ],
)
def test_a_wrong_option_is_named(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        measure_latency.main(arguments)
    assert expected in capsys.readouterr().err
