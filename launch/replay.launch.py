"""Play a bag into the segmentation node, and show the outcome in RViz.

The bag starts when the node is active, so that none of its images is missed. With ``node:=false``
a bag that was segmented before is only played and shown. Without RViz the launch ends when the bag
does.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    Shutdown,
)

from lemore_ros.launch_utils import (
    arguments,
    before,
    rviz,
    segmentation_node,
    switch,
    text,
    when_active,
)
from lemore_ros.node.parameters import ParameterError


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, and start what they ask for."""
    declared = [*bag_arguments(), *arguments(use_sim_time='true', rviz='true')]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def bag_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments that say what is played, and how."""
    optional = {
        'rate': ('1.0', 'Speed of playing: 1.0 is that of the recording.'),
        'loop': ('false', 'Play again and again: true or false.'),
        'topics': ('', 'Topics that are played, with blanks between. Empty: all of the bag.'),
        'remap': ('', 'Other names for topics of the bag, as old:=new, with blanks between.'),
        'node': ('true', 'Start the node: true or false; false for a bag that holds its outputs.'),
    }
    return [
        DeclareLaunchArgument('bag', description='The bag that is played: its folder or file.'),
        *(
            DeclareLaunchArgument(name, default_value=default, description=description)
            for name, (default, description) in optional.items()
        ),
    ]


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return the actions for the arguments' values."""
    player = bag_player(context)
    if not switch(context, 'node'):
        return [*before(context), player, *rviz(context)]
    node = segmentation_node(context)
    return [*before(context), node, when_active(node, player), *rviz(context)]


def bag_player(context: LaunchContext) -> ExecuteProcess:
    """Return what plays the bag.

    Raises:
        ParameterError: there is no such bag, or an argument has a value that is not allowed.
    """
    bag = text(context, 'bag')
    if not Path(bag).exists():
        msg = f'bag is {bag}: there is no such file or folder'
        raise ParameterError(msg)
    # under a launch there is no keyboard that could pause it
    command = ['ros2', 'bag', 'play', bag, '--disable-keyboard-controls']
    command += ['--rate', str(rate(context))]
    if text(context, 'use_sim_time') and switch(context, 'use_sim_time'):
        command.append('--clock')
    if switch(context, 'loop'):
        command.append('--loop')
    for name in ('topics', 'remap'):
        words = text(context, name).split()
        command += [f'--{name}', *words] if words else []
    at_end = None if switch(context, 'rviz') else Shutdown(reason='the bag is at its end')
    return ExecuteProcess(cmd=command, name='bag_player', output='screen', on_exit=at_end)


def rate(context: LaunchContext) -> float:
    """Return the speed of playing.

    Raises:
        ParameterError: it is no number above zero.
    """
    given = text(context, 'rate')
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        msg = f'rate is {given!r}, allowed: a number above zero, such as 0.5'
        raise ParameterError(msg)
    return value
