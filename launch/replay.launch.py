"""Play a bag into the segmentation node, and show the labels in RViz.

The bag starts when the node is active, so that none of its images is missed. With ``node:=false``
a labelled bag is only played and shown. Without RViz the launch ends with the bag.
"""

from __future__ import annotations

from typing import Any

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument as Argument
from launch.actions import ExecuteProcess, OpaqueFunction, Shutdown, TimerAction
from launch_ros.actions import LifecycleNode
from launch_ros.ros_adapters import get_ros_node
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState

from lemore_ros.launch_utils import arguments, before, path, rviz, segmentation_node, switch, text
from lemore_ros.node.parameters import ParameterError

STATE_PERIOD_S = 0.5
OPTIONS = {
    'rate': ('1.0', 'Speed of playing: 1.0 is that of the recording.'),
    'loop': ('false', 'Play again and again: true or false.'),
    'topics': ('', 'Topics to play, with blanks between. Empty: all of the bag.'),
    'remap': ('', 'Other names for topics of the bag, as old:=new, with blanks between.'),
    'node': ('true', 'Start the node: true or false; false for a bag that holds its outputs.'),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, and start the player, the node and RViz."""
    bag = Argument('bag', description='The bag to play: its folder or file.')
    options = [
        Argument(name, default_value=default, description=description)
        for name, (default, description) in OPTIONS.items()
    ]
    common = arguments(use_sim_time='true', rviz='true')
    return LaunchDescription([bag, *options, *common, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return the actions for the arguments' values."""
    player = bag_player(context)
    if not switch(context, 'node'):
        return [*before(context), player, *rviz(context)]
    node = segmentation_node(context)
    play = OpaqueFunction(function=lambda inner: when_active(inner, node, player))
    return [*before(context), node, play, *rviz(context)]


def when_active(
    context: LaunchContext, node: LifecycleNode, then: LaunchDescriptionEntity
) -> list[LaunchDescriptionEntity]:
    """Poll the node's state until it is active, then return ``then``."""
    # launch misses transitions that come before it and the node have discovered each other
    client = get_ros_node(context).create_client(GetState, f'{node.node_name}/get_state')
    asked: list[Any] = []

    def ask(_: LaunchContext) -> list[LaunchDescriptionEntity]:
        answers = [future.result() for future in asked if future.done()]
        if any(answer.current_state.id == State.PRIMARY_STATE_ACTIVE for answer in answers):
            return [then]
        asked[:] = [future for future in asked if not future.done()]
        if client.service_is_ready():
            asked.append(client.call_async(GetState.Request()))
        again = OpaqueFunction(function=ask)
        return [TimerAction(period=STATE_PERIOD_S, actions=[again], cancel_on_shutdown=True)]

    return ask(context)


def bag_player(context: LaunchContext) -> ExecuteProcess:
    """Return the player of the bag."""
    bag = path(context, 'bag')
    if not bag.exists():
        msg = f'bag is {bag}: there is no such file or folder'
        raise ParameterError(msg)
    # a launch has no keyboard to pause it
    command = ['ros2', 'bag', 'play', str(bag), '--disable-keyboard-controls']
    command += ['--rate', str(rate(context))]
    flags = {'--clock': 'use_sim_time', '--loop': 'loop'}
    command += [flag for flag, name in flags.items() if switch(context, name)]
    for name in ('topics', 'remap'):
        words = text(context, name).split()
        command += [f'--{name}', *words] if words else []
    at_end = None if switch(context, 'rviz') else Shutdown(reason='the bag is at its end')
    return ExecuteProcess(cmd=command, name='bag_player', output='screen', on_exit=at_end)


def rate(context: LaunchContext) -> float:
    """Return the speed of playing, a number above zero."""
    given = text(context, 'rate')
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        msg = f'rate is {given!r}, allowed: a number above zero, such as 0.5'
        raise ParameterError(msg)
    return value
