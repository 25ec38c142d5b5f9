"""The launch file that plays a bag, with a stand-in for ``ros2 bag play``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')
pytest.importorskip('launch_ros', reason='launch_ros is not installed')

from lemore_ros.share import PROFILE_VARIABLES, share_directory

FILE = 'replay.launch.py'
NODE = '/lemore_segmentation'
PLAY, NO_KEYBOARD = ('bag', 'play'), '--disable-keyboard-controls'
WAIT_S = 60


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    path = tmp_path / 'drive'
    path.mkdir()
    return path


def test_the_bag_starts_when_the_node_is_active_and_ends_the_launch(
    start: Any, stand_ins: Any, peer: Any, untrained: dict[str, str], bag: Path
) -> None:
    stays = {'STAND_IN_STAYS_S': '3'}
    process = start(FILE, environ=stand_ins.environ | stays, bag=bag, rviz='false', **untrained)
    assert peer.parameters(NODE, ['use_sim_time']) == {'use_sim_time': True}
    call = peer.wait_for(lambda: stand_ins.call_of('ros2'), 'the bag to be played')
    peer.wait_until_active(NODE)
    assert call['arguments'] == [*PLAY, str(bag), NO_KEYBOARD, '--rate', '1.0', '--clock']
    assert PROFILE_VARIABLES[0] in call['environ']
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, output
    assert output.index('runs on torch') < output.index('[INFO] [bag_player-')
    assert 'Traceback' not in output


def test_a_segmented_bag_is_shown_without_the_node(
    start: Any, stand_ins: Any, peer: Any, bag: Path
) -> None:
    process = start(
        FILE,
        environ=stand_ins.environ,
        bag=bag,
        node='false',
        rate='0.5',
        loop='true',
        topics='/a /b',
        remap='/a:=/image /b:=/c',
        use_sim_time='false',
    )
    call = peer.wait_for(lambda: stand_ins.call_of('ros2'), 'the bag to be played')
    options = ['--rate', '0.5', '--loop', '--topics', '/a', '/b']
    remap = ['--remap', '/a:=/image', '/b:=/c']
    assert call['arguments'] == [*PLAY, str(bag), NO_KEYBOARD, *options, *remap]
    words = peer.wait_for(lambda: stand_ins.call_of('rviz2'), 'RViz')['arguments']
    assert words[:2] == ['-d', str(share_directory() / 'config' / 'rviz' / 'segmentation.rviz')]
    output, _ = process.communicate(timeout=WAIT_S)
    assert 'segmentation_node' not in output


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ({}, "missing required argument 'bag'"),
        ({'bag': '/nowhere/drive'}, 'bag is /nowhere/drive: there is no such file or folder'),
        ({'bag': '/tmp', 'rate': 'fast'}, "rate is 'fast', allowed: a number above zero"),
        ({'bag': '/tmp', 'rate': '-1'}, "rate is '-1', allowed: a number above zero"),
        ({'bag': '/tmp', 'loop': 'twice'}, "loop is 'twice', allowed: true or false"),
        ({'bag': '/tmp', 'node': 'no'}, "node is 'no', allowed: true or false"),
    ],
)
def test_a_wrong_argument_is_named(start: Any, arguments: dict[str, str], expected: str) -> None:
    process = start(FILE, **arguments)
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert expected in output
