"""Arguments, node and RViz of the launch files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, List  # noqa: UP035 - launch knows no list[str]

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    LogInfo,
    OpaqueFunction,
    SetEnvironmentVariable,
    TimerAction,
)
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from lemore_core.common.errors import LemoreError
from lemore_core.common.files import at_home
from lemore_ros.node.lifecycle import RESTART, STOPPED
from lemore_ros.node.parameters import PARAMETERS, ParameterError, from_text
from lemore_ros.outputs import TRANSPORTS
from lemore_ros.share import PACKAGE, image_profile, share_directory

NAME = 'lemore_segmentation'
EXECUTABLE = 'segmentation_node'
RESPAWNS, RESPAWN_DELAY_S = 5, 3.0
# a frame in hand is finished, which a busy machine may take seconds for
STOP_S = '30'
LOOKS_LIKE = 0.75
# stands for the name of a camera where there are several
CAMERA = '{camera}'
# the cameras of config/rviz/multi_camera.rviz; others take their places in turn
SHOWN_CAMERAS = ('front', 'left', 'right', 'rear')
SHOWN_TOPICS = ('overlay', 'color', 'points')
SWITCHES: Mapping[str, bool] = {'true': True, '1': True, 'false': False, '0': False, '': False}
# parameters of the node that are launch arguments as well
GIVEN = ('model', 'dataset', 'backend', 'device', 'camera_names', 'class_groups', 'output_size')
ARGUMENTS: Mapping[str, str] = {
    'params_file': 'YAML file with the parameters of the node.',
    'image_topic': 'Topic of the camera images, with {camera} in place of the name where there are '
    'several cameras; <topic>/<image_transport> where that is not raw. Its camera_info is beside '
    'it. Empty: image.',
    'depth_topic': 'Topic of depth images that are registered to the camera, with {camera} '
    'likewise; their camera_info is beside it. Empty: depth.',
    **{
        name: f'{PARAMETERS[name].text} Allowed: {PARAMETERS[name].allowed}. '
        'Empty: as params_file says.'
        for name in GIVEN
    },
    'namespace': 'Namespace of the node and its topics.',
    'python': 'Python that runs the node, such as /home/me/venv/bin/python. Empty: that of the '
    'active virtual environment, else the one that the package was installed for.',
    'log_level': 'Least severity that is logged: debug, info, warn, error or fatal.',
    'use_sim_time': 'Take the time from /clock: true or false. Empty: as params_file says.',
    'rviz': 'Start RViz too: true or false.',
}


def arguments(**defaults: str) -> list[DeclareLaunchArgument]:
    """Return the arguments of the node and of RViz, empty without one of the ``defaults``."""
    params_file = str(share_directory() / 'config' / 'segmentation.yaml')
    values = {'params_file': params_file, 'log_level': 'info', 'rviz': 'false', **defaults}
    return [
        DeclareLaunchArgument(name, default_value=values.get(name, ''), description=description)
        for name, description in ARGUMENTS.items()
    ]


def node_and_rviz(**defaults: str) -> LaunchDescription:
    """Return the arguments, and the node and RViz that they describe."""

    def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
        return [*before(context), segmentation_node(context), *rviz(context)]

    return LaunchDescription([*arguments(**defaults), OpaqueFunction(function=start)])


def before(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return hints about unknown arguments, and the variables of the profile for images."""
    hints = []
    # others may belong to the launch file that includes this one
    for name in sorted(context.launch_configurations.keys() - ARGUMENTS.keys()):
        if name in PARAMETERS:
            hints.append(f'there is no argument {name!r}: set parameters in params_file')
        elif close := get_close_matches(name, ARGUMENTS, 1, LOOKS_LIKE):
            hints.append(f'there is no argument {name!r}, did you mean {close[0]}?')
    variables = image_profile(context.environment)
    return [
        *(LogInfo(msg=hint) for hint in hints),
        *(SetEnvironmentVariable(name, value) for name, value in variables.items()),
    ]


def text(context: LaunchContext, name: str) -> str:
    """Return the value of a launch argument."""
    return str(LaunchConfiguration(name).perform(context))


def path(context: LaunchContext, name: str) -> Path:
    """Return the value of a launch argument that is a path."""
    return at_home(text(context, name))


def switch(context: LaunchContext, name: str) -> bool:
    """Return the value of a launch argument that is true or false; empty is false."""
    value = text(context, name)
    if value.lower() not in SWITCHES:
        msg = f'{name} is {value!r}, allowed: true or false'
        raise ParameterError(msg)
    return SWITCHES[value.lower()]


def segmentation_node(context: LaunchContext, respawns: int = RESPAWNS) -> LifecycleNode:
    """Return the node, started again up to ``respawns`` times if another start may help."""
    # launch's own respawn has no bound on Humble, and repeats wrong arguments
    params_file = path(context, 'params_file')
    if not params_file.is_file():
        msg = f'params_file is {params_file}: there is no such file'
        raise ParameterError(msg)
    return LifecycleNode(
        name=NAME,
        namespace=text(context, 'namespace'),
        remappings=[pair for camera in cameras(context) for pair in inputs(context, camera)],
        parameters=[str(params_file), _given_parameters(context)],
        ros_arguments=['--log-level', text(context, 'log_level')],
        output='screen',
        sigterm_timeout=STOP_S,
        on_exit=partial(_on_exit, respawns),
        **_program(context),
    )


def _on_exit(respawns: int, event: ProcessExited, context: LaunchContext) -> TimerAction | None:
    code = event.returncode
    if context.is_shutdown or code == STOPPED:
        return None
    # a signal ends a process with its negative number
    if respawns and (code in RESTART or code < 0):
        again = segmentation_node(context, respawns - 1)
        return TimerAction(period=RESPAWN_DELAY_S, actions=[again], cancel_on_shutdown=True)
    # an exception ends the launch with a code that is not zero
    msg = f'the segmentation node ended with exit code {code}, see its last lines'
    raise LemoreError(msg)


def rviz(context: LaunchContext) -> list[Node]:
    """Return RViz if the argument ``rviz`` is true, its topics remapped to the node's."""
    if not switch(context, 'rviz'):
        return []
    if not _is_installed('rviz2', 'rviz2'):
        msg = 'rviz is true, and RViz is not installed: apt install ros-$ROS_DISTRO-rviz2'
        raise ParameterError(msg)
    config = 'point_cloud.rviz' if text(context, 'depth_topic') else 'segmentation.rviz'
    if cameras(context)[0]:
        config = 'multi_camera.rviz'
    return [
        Node(
            package='rviz2',
            executable='rviz2',
            name='rviz2',
            namespace=text(context, 'namespace'),
            arguments=['-d', str(share_directory() / 'config' / 'rviz' / config)],
            parameters=[{'use_sim_time': switch(context, 'use_sim_time')}],
            remappings=shown(context),
            output='log',
        )
    ]


def cameras(context: LaunchContext) -> tuple[str, ...]:
    """Return the names of the cameras; one empty name by default."""
    given = text(context, 'camera_names')
    return tuple(from_text('camera_names', given)) if given else ('',)


def inputs(context: LaunchContext, camera: str) -> list[tuple[str, str]]:
    """Return the remappings of a camera's topics; two cameras cannot share one."""
    image, depth = (_topic(context, name, camera) for name in ('image_topic', 'depth_topic'))
    moved: dict[str, str] = {}
    if image:
        suffixes = [transport.suffix for transport in TRANSPORTS.values()]
        moved = {f'image{suffix}': f'{image}{suffix}' for suffix in suffixes}
        moved['camera_info'] = _beside(image)
    if depth:
        moved |= {'depth': depth, 'depth/camera_info': _beside(depth)}
    return [(_prefixed(camera, name), topic) for name, topic in moved.items()]


def shown(context: LaunchContext) -> list[tuple[str, str]]:
    """Return the remappings of the topics in the shipped RViz configurations."""
    names = cameras(context)
    places = SHOWN_CAMERAS if names[0] else ('',)
    pairs = [('/image', _topic(context, 'image_topic', names[0]) or _prefixed(names[0], 'image'))]
    for place, camera in zip(places, names, strict=False):
        for topic in SHOWN_TOPICS:
            own = f'{NAME}/{_prefixed(camera, topic)}'
            pairs.append((f'/{NAME}/{_prefixed(place, topic)}', own))
    return pairs


def _prefixed(camera: str, topic: str) -> str:
    return f'{camera}/{topic}' if camera else topic


def _beside(topic: str) -> str:
    # the convention of image_transport
    return f'{topic.rpartition("/")[0]}/camera_info' if '/' in topic else 'camera_info'


def _topic(context: LaunchContext, argument: str, camera: str) -> str:
    pattern = text(context, argument)
    if pattern and camera and CAMERA not in pattern:
        msg = (
            f'{argument} is {pattern!r}: with camera_names it must hold {CAMERA}, '
            f'such as {CAMERA}/image_raw'
        )
        raise ParameterError(msg)
    topic = pattern.replace(CAMERA, camera)
    # image_transport says which of its topics is taken
    for transport in TRANSPORTS.values():
        topic = topic.removesuffix(transport.suffix)
    return topic


def _given_parameters(context: LaunchContext) -> dict[str, ParameterValue]:
    values = {}
    for name in GIVEN:
        if given := text(context, name):
            value = from_text(name, given)
            is_list = isinstance(value, tuple)
            kind = List[str] if is_list else str  # noqa: UP006
            values[name] = ParameterValue(list(value) if is_list else value, value_type=kind)
    if text(context, 'use_sim_time'):
        values['use_sim_time'] = ParameterValue(switch(context, 'use_sim_time'), value_type=bool)
    return values


def _program(context: LaunchContext) -> dict[str, Any]:
    """Return the installed executable, or the module where a Python is chosen."""
    given, environment = text(context, 'python'), context.environment.get('VIRTUAL_ENV', '')
    if not given and not environment and _is_installed(PACKAGE, EXECUTABLE):
        return {'package': PACKAGE, 'executable': EXECUTABLE}
    python = Path(environment, 'bin', 'python') if environment else Path(sys.executable)
    if given:
        python = path(context, 'python')
    if not python.is_file():
        msg = f'python is {str(python)!r}: there is no such file'
        raise ParameterError(msg)
    return {'executable': str(python), 'arguments': ['-m', f'{PACKAGE}.node.{EXECUTABLE}']}


def _is_installed(package: str, executable: str) -> bool:
    # without a sourced ROS installation the index raises OSError
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        return Path(get_package_prefix(package), 'lib', package, executable).is_file()
    except (PackageNotFoundError, OSError):
        return False
