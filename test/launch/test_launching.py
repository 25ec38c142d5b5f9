"""What the launch files have in common."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from launch import LaunchContext, LaunchDescription, LaunchService
from launch.actions import LogInfo, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.utilities import perform_substitutions

from lemore_ros import launch_utils
from lemore_ros.launch_utils import NAME, arguments, before, inputs, segmentation_node, shown
from lemore_ros.node.parameters import ParameterError
from lemore_ros.share import PROFILE_VARIABLES, share_directory

CONFIGS = share_directory() / 'config' / 'rviz'


def context_of(**values: str) -> LaunchContext:
    context = LaunchContext()
    for argument in arguments(**values):
        argument.visit(context)
    return context


def forms(topic: str) -> list[str]:
    return [f'{topic}{suffix}' for suffix in ('', '/compressed', '/ffmpeg', '/foxglove')]


def images(topic: str) -> dict[str, str]:
    return dict(zip(forms('image'), forms(topic), strict=True))


def depth(camera: str, place: str) -> dict[str, str]:
    info = {f'{camera}depth/camera_info': f'{place}/camera_info'}
    return {f'{camera}depth': f'{place}/image', **info}


@pytest.mark.parametrize(
    ('values', 'camera', 'expected'),
    [
        ({}, 'front', {}),
        (
            {'image_topic': 'camera/image_raw'},
            '',
            images('camera/image_raw') | {'camera_info': 'camera/camera_info'},
        ),
        (
            {'image_topic': '/front/image_raw/compressed'},
            '',
            images('/front/image_raw') | {'camera_info': '/front/camera_info'},
        ),
        (
            {'image_topic': 'usb', 'depth_topic': '/d/image'},
            '',
            images('usb') | {'camera_info': 'camera_info'} | depth('', '/d'),
        ),
        ({'depth_topic': '/{camera}/depth/image'}, 'rear', depth('rear/', '/rear/depth')),
    ],
)
def test_inputs_are_where_the_arguments_say(
    values: dict[str, str], camera: str, expected: dict[str, str]
) -> None:
    assert dict(inputs(context_of(**values), camera)) == expected


def test_the_node_runs_in_the_python_that_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('VIRTUAL_ENV', str(tmp_path))
    python = tmp_path / 'bin' / 'python'
    python.parent.mkdir()
    python.touch()
    for given, chosen in {'': str(python), sys.executable: sys.executable}.items():
        context = context_of(python=given)
        command = [perform_substitutions(context, w) for w in segmentation_node(context).cmd[:3]]
        assert command == [chosen, '-m', 'lemore_ros.node.segmentation_node']


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ({'backend': 'caffe'}, "backend is 'caffe', allowed: one of auto, onnxruntime, torch"),
        ({'params_file': '/gone/mine.yaml'}, 'params_file is /gone/mine.yaml: there is no such'),
        (
            {'camera_names': 'front,7'},
            "camera_names is ('front', '7'), allowed: a list of names such as",
        ),
        (
            {'camera_names': 'front', 'depth_topic': '/depth'},
            "depth_topic is '/depth': with camera_names it must hold {camera}",
        ),
        ({'rviz': 'maybe'}, "rviz is 'maybe', allowed: true or false"),
        ({'rviz': 'true'}, 'rviz is true, and RViz is not installed: apt install'),
        ({'use_sim_time': 'maybe'}, "use_sim_time is 'maybe', allowed: true or false"),
        ({'python': '/gone/python'}, "python is '/gone/python': there is no such file"),
        ({'bag': '~/drive'}, f'bag is {Path.home()}/drive: there is no such file or folder'),
        ({'params_file': '~/mine.yaml'}, f'params_file is {Path.home()}/mine.yaml: there is no'),
        ({'bag': '/nowhere/drive'}, 'bag is /nowhere/drive: there is no such file or folder'),
        ({'rate': 'fast'}, "rate is 'fast', allowed: a number above zero"),
        ({'rate': '-1'}, "rate is '-1', allowed: a number above zero"),
        ({'loop': 'twice'}, "loop is 'twice', allowed: true or false"),
        ({'node': 'no'}, "node is 'no', allowed: true or false"),
    ],
)
def test_a_wrong_argument_is_named(values: dict[str, str], expected: str) -> None:
    context = LaunchContext()
    context.launch_configurations.update({'rviz': 'false', 'bag': '/tmp', **values})
    replay = PythonLaunchDescriptionSource(str(share_directory() / 'launch/replay.launch.py'))
    entities = replay.get_launch_description(context).entities
    with pytest.raises(ParameterError, match=re.escape(expected)):
        [entity.visit(context) for entity in entities]


def test_unknown_arguments_give_hints_and_images_get_a_profile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ('RMW_IMPLEMENTATION', *PROFILE_VARIABLES):
        monkeypatch.delenv(variable, raising=False)
    context = context_of()
    context.launch_configurations.update({'modle': 'x', 'rotate': '90', 'car': '1'})
    actions = before(context)
    hints = [perform_substitutions(context, a.msg) for a in actions if isinstance(a, LogInfo)]
    assert hints == [
        "there is no argument 'modle', did you mean model?",
        "there is no argument 'rotate': set parameters in params_file",
    ]
    for action in actions[len(hints) :]:
        action.visit(context)
    assert context.environment.keys() >= set(PROFILE_VARIABLES)


@pytest.mark.parametrize(
    ('config', 'values'),
    [
        ('segmentation', {}),
        ('point_cloud', {}),
        ('multi_camera', {'camera_names': 'front,left,right,rear'}),
    ],
)
def test_what_rviz_shows_follows_the_namespace(config: str, values: dict[str, str]) -> None:
    text = (CONFIGS / f'{config}.rviz').read_text(encoding='utf-8')
    displays: list[dict[str, Any]] = yaml.safe_load(text)['Visualization Manager']['Displays']
    topics = {display['Topic']['Value'] for display in displays if 'Topic' in display}
    moved = dict(shown(context_of(**values)))
    assert topics <= set(moved)
    for topic in topics - {'/image'}:
        assert moved[topic] == topic.removeprefix('/')
        assert topic.startswith(f'/{NAME}/')


def test_rviz_shows_the_first_cameras_whatever_their_names() -> None:
    moved = dict(shown(context_of(camera_names='left,bow', image_topic='/{camera}/raw')))
    assert moved['/image'] == '/left/raw'
    assert moved[f'/{NAME}/front/overlay'] == f'{NAME}/left/overlay'
    assert moved[f'/{NAME}/left/overlay'] == f'{NAME}/bow/overlay'


@pytest.mark.parametrize(
    ('end', 'starts', 'code'),
    [
        ('os._exit(70)', 3, 1),
        ('os.kill(os.getpid(), 11)', 3, 1),
        ('os._exit(1)', 1, 1),
        ('os._exit(0)', 1, 0),
    ],
)
def test_what_another_start_may_mend_is_started_again_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, starts: int, code: int
) -> None:
    started = tmp_path / 'started'
    program = f'import os; open({str(started)!r}, "a").write("x"); {end}'
    command = {'executable': sys.executable, 'arguments': ['-c', program]}
    monkeypatch.setattr(launch_utils, '_program', lambda _: command)
    monkeypatch.setattr(launch_utils, 'RESPAWN_DELAY_S', 0.01)
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path))

    def start(context: LaunchContext) -> list[Any]:
        return [segmentation_node(context, 2)]

    service = LaunchService()
    service.include_launch_description(
        LaunchDescription([*arguments(), OpaqueFunction(function=start)])
    )
    assert service.run() == code
    assert started.read_text() == 'x' * starts
