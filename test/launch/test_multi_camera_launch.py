"""The launch file of several cameras, started for real, alone and within a bigger one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')
pytest.importorskip('launch_ros', reason='launch_ros is not installed')

from lemore_ros.share import share_directory

FILE = 'multi_camera.launch.py'
NODE = '/lemore_segmentation'

BIGGER = """
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

def include(name, **arguments):
    source = PythonLaunchDescriptionSource(f'{folder}/{name}.launch.py')
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())])

def generate_launch_description():
    return LaunchDescription([
        include('multi_camera', namespace='car', camera_names='port,starboard', **untrained),
        include('segmentation', namespace='arm', image_topic='wrist/image_raw', **untrained),
    ])
"""


def test_every_camera_has_its_labels(
    start: Any, stop: Callable[[Any], str], peer: Any, untrained: dict[str, str]
) -> None:
    process = start(
        FILE,
        camera_names='[front, left]',
        image_topic='/{camera}/image_raw',
        depth_topic='/{camera}/depth/image_raw',
        **untrained,
    )
    peer.wait_until_active(NODE)
    assert peer.parameters(NODE, ['camera_names']) == {'camera_names': ['front', 'left']}
    for camera in ('front', 'left'):
        image, labels = peer.labels_of(f'/{camera}/image_raw', f'{NODE}/{camera}/labels')
        assert labels.header == image.header
        assert peer.node.count_publishers(f'{NODE}/{camera}/points') == 1
    stop(process)


def test_it_is_part_of_a_bigger_launch(
    start: Any, peer: Any, untrained: dict[str, str], tmp_path: Path
) -> None:
    bigger = tmp_path / 'robot.launch.py'
    values = f'folder = {str(share_directory() / "launch")!r}\nuntrained = {untrained!r}\n'
    bigger.write_text(values + BIGGER, encoding='utf-8')
    start(bigger)
    peer.labels_of('/car/port/image_raw', '/car/lemore_segmentation/port/labels')
    peer.labels_of('/arm/wrist/image_raw', '/arm/lemore_segmentation/labels')
    assert peer.node.count_publishers('/car/lemore_segmentation/starboard/labels') == 1
    assert peer.node.count_publishers('/arm/lemore_segmentation/port/labels') == 0


def test_rviz_shows_the_first_cameras_whatever_their_names(
    start: Any, stand_ins: Any, peer: Any, waiting: dict[str, str]
) -> None:
    start(FILE, environ=stand_ins.environ, **waiting, rviz='true', camera_names='left,bow')
    words = peer.wait_for(lambda: stand_ins.call_of('rviz2'), 'RViz')['arguments']
    assert words[:2] == ['-d', str(share_directory() / 'config' / 'rviz' / 'multi_camera.rviz')]
    assert '/lemore_segmentation/front/overlay:=lemore_segmentation/left/overlay' in words
    assert '/lemore_segmentation/left/overlay:=lemore_segmentation/bow/overlay' in words
