"""The launch files, started for real."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import Image

from lemore_ros.share import PROFILE_VARIABLES, share_directory

WAIT_S = 60

ROBOT = """
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

def include(name, **arguments):
    source = PythonLaunchDescriptionSource(f'{folder}/{name}.launch.py')
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())])

def generate_launch_description():
    return LaunchDescription([
        include('multi_camera', namespace='car', camera_names='[port, starboard]', **untrained),
        include('segmentation', params_file=params_file, namespace='arm',
                image_topic='wrist/image_raw', class_groups='auto'),
    ])
"""


def parameters(graph: Any, node: str, names: list[str]) -> dict[str, Any]:
    assert graph.state(node) == 'active'
    answer = graph.call(GetParameters, f'{node}/get_parameters', GetParameters.Request(names=names))
    return dict(zip(names, map(parameter_value_to_python, answer.values), strict=True))


def test_launch_files_are_parts_of_a_bigger_one_and_end_in_good_order(
    graph: Any, start: Any, untrained: dict[str, str], tmp_path: Path
) -> None:
    params_file = tmp_path / 'mine.yaml'
    values = untrained | {'overlay_alpha': '0.25', 'class_groups': "''"}
    lines = [f'    {name}: {value}\n' for name, value in values.items()]
    head = '/arm/lemore_segmentation:\n  ros__parameters:\n'
    params_file.write_text(head + ''.join(lines), encoding='utf-8')
    names = {
        'folder': str(share_directory() / 'launch'),
        'untrained': untrained,
        'params_file': str(params_file),
    }
    robot = tmp_path / 'robot.launch.py'
    robot.write_text(
        ''.join(f'{name} = {value!r}\n' for name, value in names.items()) + ROBOT, encoding='utf-8'
    )
    process = start(robot)
    for camera, labels_topic in {
        '/car/port/image_raw': '/car/lemore_segmentation/port/labels',
        '/arm/wrist/image_raw': '/arm/lemore_segmentation/labels',
    }.items():
        labels: list[Image] = []
        graph.peer.create_subscription(Image, labels_topic, labels.append, 10)
        image = graph.image(1, frame_id=camera)
        graph.film(graph.publisher(camera), image, lambda found=labels: found, labels_topic)
        assert labels[0].header == image.header
    assert graph.peer.count_subscribers('/arm/wrist/camera_info') == 1
    car = parameters(graph, '/car/lemore_segmentation', ['camera_names'])
    assert car == {'camera_names': ['port', 'starboard']}
    asked = ['overlay_alpha', 'class_groups', 'backend', 'use_sim_time']
    assert parameters(graph, '/arm/lemore_segmentation', asked) == {
        'overlay_alpha': 0.25,  # the file wins over the default
        'class_groups': 'auto',  # the argument wins over the file
        'backend': 'torch',
        'use_sim_time': False,
    }
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=WAIT_S)
    assert output.count('process has finished cleanly') == 2, output
    assert 'Traceback' not in output


def test_a_bag_starts_when_the_node_is_active_and_ends_the_launch(
    graph: Any, start: Any, stand_ins: Any, tmp_path: Path
) -> None:
    process = start(
        'replay.launch.py', environ=stand_ins.environ, bag=tmp_path, rviz='false', **graph.untrained
    )
    call = graph.wait_for(lambda: stand_ins.call_of('ros2'), 'the bag to be played')
    assert parameters(graph, '/lemore_segmentation', ['use_sim_time']) == {'use_sim_time': True}
    assert call['arguments'][:3] == ['bag', 'play', str(tmp_path)]
    assert PROFILE_VARIABLES[0] in call['environ']
    stand_ins.end('ros2')
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, output
    assert output.index('runs on torch') < output.index('[INFO] [bag_player-')
    assert 'Traceback' not in output


def test_a_labelled_bag_is_shown_without_the_node(
    graph: Any, start: Any, stand_ins: Any, tmp_path: Path
) -> None:
    process = start(
        'replay.launch.py',
        environ=stand_ins.environ,
        bag=tmp_path,
        node='false',
        rate='0.5',
        loop='true',
        topics='/a /b',
        remap='/a:=/image /b:=/c',
        use_sim_time='false',
        namespace='robot',
        image_topic='/camera/image_raw',
    )
    call = graph.wait_for(lambda: stand_ins.call_of('ros2'), 'the bag to be played')
    options = ['--disable-keyboard-controls', '--rate', '0.5', '--loop', '--topics', '/a', '/b']
    remap = ['--remap', '/a:=/image', '/b:=/c']
    assert call['arguments'] == ['bag', 'play', str(tmp_path), *options, *remap]
    words = graph.wait_for(lambda: stand_ins.call_of('rviz2'), 'RViz')['arguments']
    assert words[:2] == ['-d', str(share_directory() / 'config' / 'rviz' / 'segmentation.rviz')]
    assert {'__ns:=/robot', '/image:=/camera/image_raw'} <= set(words)
    stand_ins.end('rviz2', 'ros2')
    output, _ = process.communicate(timeout=WAIT_S)
    assert 'segmentation_node' not in output
