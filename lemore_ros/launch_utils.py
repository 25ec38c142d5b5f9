"""What the launch files have in common: their arguments, the node and RViz."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
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
from launch_ros.ros_adapters import get_ros_node
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.client import Client
from rclpy.task import Future

from lemore_core.common.errors import LemoreError
from lemore_ros.node.exit_codes import RESTART, STOPPED
from lemore_ros.node.parameters import CAMERA, DEFAULTS, PARAMETERS, ParameterError, from_text
from lemore_ros.share import PACKAGE, image_profile, share_directory
from lemore_ros.transports import COMPRESSED_DEPTH, TRANSPORTS

NAME = 'lemore_segmentation'
EXECUTABLE = 'segmentation_node'
RESPAWNS, RESPAWN_DELAY_S = 5, 3.0
STATE_PERIOD_S = 0.5
LOOKS_LIKE = 0.75
# the cameras of config/rviz/multi_camera.rviz: whichever there are take their places in turn
SHOWN_CAMERAS = ('front', 'left', 'right', 'rear')
SHOWN_TOPICS = ('overlay', 'color', 'points')
SWITCHES: Mapping[str, bool] = {'true': True, '1': True, 'false': False, '0': False}
OTHER_ARGUMENTS: Mapping[str, str] = {
    'image_topic': 'Topic of the camera images, with {camera} in place of the name where there are '
    'several cameras; <topic>/<image_transport> where that is not raw. Empty: image.',
    'camera_info_topic': 'Topic of the calibration, with {camera} likewise. Empty: camera_info '
    'beside image_topic.',
    'depth_topic': 'Topic of depth images that are registered to the camera, with {camera} '
    'likewise; their camera_info is beside it. Empty: depth.',
    'namespace': 'Namespace of the node and its topics.',
    'python': 'Python that runs the node, such as /home/me/venv/bin/python. Empty: that of the '
    'active virtual environment if PyTorch or ONNX Runtime is in it, else the one that the package '
    'was installed for.',
    'params_file': 'YAML file with the values of any parameters of the node.',
    'log_level': 'Least severity that is logged: debug, info, warn, error or fatal.',
    'use_sim_time': 'Take the time from /clock: true or false. Empty: as params_file says.',
    'respawn': 'Start the node again where it lost its GPU, does not answer or crashed, '
    f'{RESPAWN_DELAY_S:.0f} s later and at most {RESPAWNS} times: true or false.',
    'rviz': 'Start RViz too: true or false.',
    'rviz_config': 'Configuration file of RViz. Empty: the one of the package that fits.',
    'rviz_frame': 'Fixed frame of RViz: where there is a point cloud, the frame of the depth '
    'images. Empty: as rviz_config says.',
}


class NodeFailedError(LemoreError):
    """The node ended for good, and the launch with it."""


def arguments(**defaults: str) -> list[DeclareLaunchArgument]:
    """Return the arguments of the node and of RViz; ``defaults`` are those that are not empty."""
    values = {
        'params_file': str(share_directory() / 'config' / 'segmentation.yaml'),
        'log_level': 'info',
        'respawn': 'true',
        'rviz': 'false',
        **defaults,
    }
    described = {**{name: _parameter_description(name) for name in PARAMETERS}, **OTHER_ARGUMENTS}
    return [
        DeclareLaunchArgument(name, default_value=values.get(name, ''), description=description)
        for name, description in described.items()
    ]


def node_and_rviz(**defaults: str) -> LaunchDescription:
    """Return the arguments, with ``defaults``, and the node and RViz as they ask for them."""

    def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
        return [*before(context), segmentation_node(context), *rviz(context)]

    return LaunchDescription([*arguments(**defaults), OpaqueFunction(function=start)])


def before(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return what comes first: hints at misspelt arguments, and shared memory for images."""
    # a user's own choice of a profile stays
    variables = image_profile(context.environment)
    profile = [SetEnvironmentVariable(name, value) for name, value in variables.items()]
    return [*misspelt(context), *profile]


def text(context: LaunchContext, name: str) -> str:
    """Return the value of a launch argument."""
    return str(LaunchConfiguration(name).perform(context))


def switch(context: LaunchContext, name: str) -> bool:
    """Return the value of a launch argument that is true or false.

    Raises:
        ParameterError: it is neither.
    """
    value = text(context, name)
    if value.lower() not in SWITCHES:
        msg = f'{name} is {value!r}, allowed: true or false'
        raise ParameterError(msg)
    return SWITCHES[value.lower()]


def misspelt(context: LaunchContext) -> list[LogInfo]:
    """Name the arguments that nobody declares and that look like one of these.

    Others may belong to the launch file that includes this one.
    """
    known = [*PARAMETERS, *OTHER_ARGUMENTS]
    pairs = [
        (name, get_close_matches(name, known, 1, LOOKS_LIKE))
        for name in context.launch_configurations
        if name not in known
    ]
    return [
        LogInfo(msg=f'there is no argument {name!r}, did you mean {close[0]}?')
        for name, close in pairs
        if close
    ]


def segmentation_node(context: LaunchContext, respawns: int = RESPAWNS) -> LifecycleNode:
    """Return the node, with the parameter file and the arguments that were given.

    Where ``respawn`` is true, it is started again after an end that another start may mend. Not
    by launch's own ``respawn``: on Humble that has no bound, and it repeats a wrong argument.

    Raises:
        ParameterError: an argument has a value that is not allowed.
    """
    params_file = text(context, 'params_file')
    if not Path(params_file).is_file():
        msg = f'params_file is {params_file}: there is no such file'
        raise ParameterError(msg)
    return LifecycleNode(
        name=NAME,
        namespace=text(context, 'namespace'),
        remappings=[pair for camera in cameras(context) for pair in inputs(context, camera)],
        parameters=[params_file, _given_parameters(context)],
        ros_arguments=['--log-level', text(context, 'log_level')],
        output='screen',
        on_exit=_on_exit(respawns if switch(context, 'respawn') else 0),
        **_program(context),
    )


def _on_exit(respawns: int) -> Callable[[ProcessExited, LaunchContext], TimerAction | None]:
    def on_exit(event: ProcessExited, context: LaunchContext) -> TimerAction | None:
        code = event.returncode
        if context.is_shutdown or code == STOPPED:
            return None
        # a signal ends a process with its negative number
        if respawns and (code in RESTART or code < 0):
            again = segmentation_node(context, respawns - 1)
            return TimerAction(period=RESPAWN_DELAY_S, actions=[again], cancel_on_shutdown=True)
        # what is raised ends the launch with a code that is not zero
        msg = f'the segmentation node ended with exit code {code}, see its last lines'
        raise NodeFailedError(msg)

    return on_exit


def when_active(node: LifecycleNode, then: LaunchDescriptionEntity) -> OpaqueFunction:
    """Return what waits until the node is active, and then does ``then``.

    The node is asked for its state: of a transition that comes before launch and the node know of
    each other, launch never hears.
    """

    def begin(context: LaunchContext) -> list[LaunchDescriptionEntity]:
        client = get_ros_node(context).create_client(GetState, f'{node.node_name}/get_state')
        return _then_if_active(client, [], then)

    return OpaqueFunction(function=begin)


def _then_if_active(
    client: Client, asked: list[Future], then: LaunchDescriptionEntity
) -> list[LaunchDescriptionEntity]:
    """Return ``then`` where one of the requests was answered so, else what asks again."""
    answers = [future.result() for future in asked if future.done()]
    if any(answer.current_state.id == State.PRIMARY_STATE_ACTIVE for answer in answers):
        return [then]
    waiting = [future for future in asked if not future.done()]
    if client.service_is_ready():
        waiting.append(client.call_async(GetState.Request()))
    again = OpaqueFunction(function=lambda _: _then_if_active(client, waiting, then))
    return [TimerAction(period=STATE_PERIOD_S, actions=[again], cancel_on_shutdown=True)]


def rviz(context: LaunchContext) -> list[Node]:
    """Return RViz where it is asked for, its configuration's topics moved to where they are."""
    if not switch(context, 'rviz'):
        return []
    if not _is_installed('rviz2', 'rviz2'):
        msg = 'rviz is true, and RViz is not installed: apt install ros-$ROS_DISTRO-rviz2'
        raise ParameterError(msg)
    config, frame = text(context, 'rviz_config'), text(context, 'rviz_frame')
    use_sim_time = text(context, 'use_sim_time') and switch(context, 'use_sim_time')
    return [
        Node(
            package='rviz2',
            executable='rviz2',
            name='rviz2',
            namespace=text(context, 'namespace'),
            arguments=['-d', config or _fitting_config(context), *(['-f', frame] if frame else [])],
            parameters=[{'use_sim_time': bool(use_sim_time)}],
            remappings=shown(context),
            output='log',
        )
    ]


def cameras(context: LaunchContext) -> tuple[str, ...]:
    """Return the names of the cameras; one of an empty name where none were given."""
    given = text(context, 'camera_names')
    return tuple(from_text('camera_names', given)) if given else ('',)


def inputs(context: LaunchContext, camera: str) -> list[tuple[str, str]]:
    """Return the node's names of a camera's topics, and where these are.

    Raises:
        ParameterError: cameras would share a topic.
    """
    image, info, depth = (
        _topic(context, name, camera)
        for name in ('image_topic', 'camera_info_topic', 'depth_topic')
    )
    moved: dict[str, str] = {}
    if image:
        suffixes = [transport.suffix for transport in TRANSPORTS.values()]
        moved = {f'image{suffix}': f'{image}{suffix}' for suffix in suffixes}
        moved['camera_info'] = _beside(image)
    if info:
        moved['camera_info'] = info
    if depth:
        moved |= {'depth': depth, 'depth/camera_info': _beside(depth)}
        moved[f'depth/{COMPRESSED_DEPTH}'] = f'{depth}/{COMPRESSED_DEPTH}'
    return [(_prefixed(camera, name), topic) for name, topic in moved.items()]


def shown(context: LaunchContext) -> list[tuple[str, str]]:
    """Return the topics of the shipped configurations of RViz, and where these are."""
    names = cameras(context)
    places: Sequence[str] = SHOWN_CAMERAS if names[0] else ('',)
    pairs = [('/image', _topic(context, 'image_topic', names[0]) or _prefixed(names[0], 'image'))]
    for place, camera in zip(places, names, strict=False):
        for topic in SHOWN_TOPICS:
            own = f'{NAME}/{_prefixed(camera, topic)}'
            pairs.append((f'/{NAME}/{_prefixed(place, topic)}', own))
    return pairs


def _prefixed(camera: str, topic: str) -> str:
    return f'{camera}/{topic}' if camera else topic


def _beside(topic: str) -> str:
    # where camera drivers publish it, as image_transport's convention is
    return f'{topic.rpartition("/")[0]}/camera_info' if '/' in topic else 'camera_info'


def _topic(context: LaunchContext, argument: str, camera: str) -> str:
    pattern = text(context, argument)
    if pattern and camera and CAMERA not in pattern:
        msg = (
            f'{argument} is {pattern!r}: with camera_names it must hold {CAMERA}, '
            f'such as {CAMERA}/image_raw'
        )
        raise ParameterError(msg)
    return pattern.replace(CAMERA, camera)


def _fitting_config(context: LaunchContext) -> str:
    name = 'segmentation.rviz'
    if cameras(context)[0]:
        name = 'multi_camera.rviz'
    elif text(context, 'depth_topic'):
        name = 'point_cloud.rviz'
    return str(share_directory() / 'config' / 'rviz' / name)


def _parameter_description(name: str) -> str:
    entry = PARAMETERS[name]
    separated = ', with commas between' if isinstance(DEFAULTS[name], tuple) else ''
    return f'{entry.option.text} Allowed: {entry.allowed}{separated}. Empty: as params_file says.'


def _given_parameters(context: LaunchContext) -> dict[str, ParameterValue]:
    values = {}
    for name in PARAMETERS:
        given = text(context, name)
        if given:
            value = from_text(name, given)
            if isinstance(value, tuple):
                values[name] = ParameterValue(list(value), value_type=List[type(value[0])])  # type: ignore[misc]  # noqa: UP006
            else:
                values[name] = ParameterValue(value, value_type=type(value))
    if text(context, 'use_sim_time'):
        values['use_sim_time'] = ParameterValue(switch(context, 'use_sim_time'), value_type=bool)
    return values


def _program(context: LaunchContext) -> dict[str, Any]:
    """Return what to run: the installed executable, or the module, where a Python is chosen.

    A package from ROS finds its modules by ``PYTHONPATH``, in whichever Python.

    Raises:
        ParameterError: ``python`` is no file.
    """
    python = text(context, 'python')
    if python and not Path(python).expanduser().is_file():
        msg = f'python is {python!r}: there is no such file'
        raise ParameterError(msg)
    python = python or _environment_python(context.environment.get('VIRTUAL_ENV', ''))
    if not python and _is_installed(PACKAGE, EXECUTABLE):
        return {'package': PACKAGE, 'executable': EXECUTABLE}
    executable = str(Path(python).expanduser()) if python else sys.executable
    return {'executable': executable, 'arguments': ['-m', f'{PACKAGE}.node.{EXECUTABLE}']}


def _environment_python(folder: str) -> str:
    python = Path(folder, 'bin', 'python')
    places = [f'lib/python*/site-packages/{name}' for name in ('onnxruntime', 'torch')]
    holds_backend = folder and any(any(Path(folder).glob(place)) for place in places)
    return str(python) if holds_backend and python.is_file() else ''


def _is_installed(package: str, executable: str) -> bool:
    # without a sourced ROS installation the index cannot even be asked
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        return Path(get_package_prefix(package), 'lib', package, executable).is_file()
    except (PackageNotFoundError, OSError):
        return False
