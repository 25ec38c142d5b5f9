"""The launch file of one camera, started for real."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')
pytest.importorskip('launch_ros', reason='launch_ros is not installed')

from lemore_ros.share import PROFILE_VARIABLES, share_directory

FILE = 'segmentation.launch.py'
NODE = '/lemore_segmentation'
PROFILE = share_directory() / 'config' / 'dds' / 'fastdds_shared_memory.xml'
WAIT_S = 60


@pytest.fixture
def params_file(tmp_path: Path, untrained: dict[str, str]) -> Path:
    path = tmp_path / 'mine.yaml'
    values = {**untrained, 'overlay_alpha': '0.25'}
    lines = [f'    {name}: {value}' for name, value in values.items()]
    head = ['/front/lemore_segmentation:', '  ros__parameters:']
    path.write_text('\n'.join([*head, *lines]) + '\n', encoding='utf-8')
    return path


def test_labels_come_out_and_it_ends_in_good_order(
    start: Any, stop: Callable[[Any], str], peer: Any, params_file: Path
) -> None:
    process = start(
        FILE,
        params_file=params_file,
        namespace='front',
        python=sys.executable,
        image_topic='/camera/image_raw',
        class_groups='auto',
    )
    image, labels = peer.labels_of('/camera/image_raw', '/front/lemore_segmentation/labels')
    assert (labels.height, labels.width) == (30, 40)
    assert labels.header == image.header
    assert peer.node.count_subscribers('/camera/camera_info') == 1

    names = ['overlay_alpha', 'class_groups', 'backend', 'use_sim_time']
    found = peer.parameters('/front/lemore_segmentation', names)
    assert found == {
        'overlay_alpha': 0.25,  # the file wins over the default
        'class_groups': 'auto',  # the argument wins over the file
        'backend': 'torch',
        'use_sim_time': False,
    }
    stop(process)


def test_without_autostart_the_node_waits_for_a_manager(
    start: Any, peer: Any, waiting: dict[str, str]
) -> None:
    process = start(FILE, **waiting, use_sim_time='true')
    found = peer.parameters(NODE, ['autostart', 'use_sim_time', 'model'])
    assert found == {'autostart': False, 'use_sim_time': True, 'model': 'tiny'}
    assert peer.node.count_publishers(f'{NODE}/labels') == 0
    environment = _environment_of_the_node(process.pid)
    assert {environment[variable] for variable in PROFILE_VARIABLES} == {str(PROFILE)}


def test_a_profile_of_the_user_stays(
    start: Any, peer: Any, tmp_path: Path, waiting: dict[str, str]
) -> None:
    mine = tmp_path / 'mine.xml'
    mine.write_bytes(PROFILE.read_bytes())
    process = start(FILE, **waiting, environ={PROFILE_VARIABLES[0]: str(mine)})
    peer.parameters(NODE, ['model'])
    environment = _environment_of_the_node(process.pid)
    assert environment[PROFILE_VARIABLES[0]] == str(mine)
    assert PROFILE_VARIABLES[1] not in environment


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ({'backend': 'caffe'}, "backend is 'caffe', allowed: one of auto, onnxruntime, torch"),
        ({'params_file': '/nowhere/mine.yaml'}, 'params_file is /nowhere/mine.yaml: there is no'),
        ({'camera_names': 'front,7'}, "camera_names is ('front', '7'), allowed: names such as"),
        (
            {'camera_names': 'front,rear', 'image_topic': '/camera'},
            "image_topic is '/camera': with camera_names it must hold {camera}",
        ),
        ({'rviz': 'maybe'}, "rviz is 'maybe', allowed: true or false"),
        ({'rviz': 'true'}, 'rviz is true, and RViz is not installed: apt install'),
        ({'model': 'gone.onnx', 'modle': 'x'}, "no argument 'modle', did you mean model?"),
        ({'model': 'gone.onnx', 'rotate': '90'}, "no argument 'rotate': set parameters in params"),
        ({'model': 'gone.onnx', 'lazy': 'false'}, "no argument 'lazy': set parameters in params"),
        ({'model': 'gone.onnx'}, 'the segmentation node ended with exit code 1, see its last'),
        ({'use_sim_time': 'maybe'}, "use_sim_time is 'maybe', allowed: true or false"),
    ],
)
def test_a_wrong_argument_is_named(start: Any, arguments: dict[str, str], expected: str) -> None:
    process = start(FILE, **arguments)
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert expected in output


def test_rviz_looks_where_the_topics_are(
    start: Any, stand_ins: Any, peer: Any, waiting: dict[str, str]
) -> None:
    start(
        FILE,
        environ=stand_ins.environ,
        **waiting,
        rviz='true',
        namespace='robot',
        image_topic='/camera/image_raw',
        depth_topic='/camera/depth',
    )
    words = peer.wait_for(lambda: stand_ins.call_of('rviz2'), 'RViz')['arguments']
    config = share_directory() / 'config' / 'rviz' / 'point_cloud.rviz'
    assert words[:2] == ['-d', str(config)]
    for remapping in (
        '__ns:=/robot',
        '/image:=/camera/image_raw',
        '/lemore_segmentation/points:=lemore_segmentation/points',
    ):
        assert remapping in words


def _environment_of_the_node(launcher: int) -> dict[str, str]:
    children = Path(f'/proc/{launcher}/task/{launcher}/children').read_text(encoding='ascii')
    raw = Path(f'/proc/{children.split()[0]}/environ').read_bytes().decode()
    return dict(entry.split('=', 1) for entry in raw.split('\0') if '=' in entry)
