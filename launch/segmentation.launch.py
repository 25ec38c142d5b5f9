"""Start the segmentation node, and RViz where it is asked for.

An argument that is given wins over ``params_file``; one that is not given leaves it alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from lemore_ros.parameters import SPECS, ParameterError, from_text, parameter_type
from lemore_ros.share import PACKAGE, share_directory, shared_memory_profile

NAME = 'lemore_segmentation'
EXECUTABLE = 'segmentation_node'


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, and start what they ask for."""
    return LaunchDescription([*arguments(), OpaqueFunction(function=start)])


def arguments() -> list[DeclareLaunchArgument]:
    """Return the launch arguments; those of the node's parameters are empty unless given."""
    config = share_directory() / 'config'
    return [
        *(parameter_argument(name) for name in SPECS),
        DeclareLaunchArgument(
            'image_topic', default_value='image', description='Topic of the camera images.'
        ),
        DeclareLaunchArgument(
            'namespace', default_value='', description='Namespace of the node and its topics.'
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=str(config / 'segmentation.yaml'),
            description='YAML file with the values of any parameters of the node.',
        ),
        DeclareLaunchArgument(
            'log_level',
            default_value='info',
            description='Least severity that is logged: debug, info, warn, error or fatal.',
        ),
        DeclareLaunchArgument(
            'use_sim_time',
            default_value='',
            description='Take the time from /clock: true or false. Empty: as params_file says.',
        ),
        DeclareLaunchArgument(
            'rviz', default_value='false', description='Start RViz too: true or false.'
        ),
        DeclareLaunchArgument(
            'rviz_config',
            default_value=str(config / 'rviz' / 'segmentation.rviz'),
            description='Configuration file of RViz.',
        ),
    ]


def parameter_argument(name: str) -> DeclareLaunchArgument:
    """Return the launch argument of a parameter of the node."""
    spec = SPECS[name]
    allowed = spec.allowed_text(parameter_type(name))
    description = f'{spec.description} Allowed: {allowed}. Empty: as params_file says.'
    return DeclareLaunchArgument(name, default_value='', description=description)


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return the actions for the arguments' values."""
    return [*shared_memory(context), segmentation_node(context), rviz()]


def shared_memory(context: LaunchContext) -> list[SetEnvironmentVariable]:
    """Let images travel through shared memory, unless the user chose a profile of their own."""
    variables = shared_memory_profile(context.environment)
    return [SetEnvironmentVariable(name, value) for name, value in variables.items()]


def segmentation_node(context: LaunchContext) -> LifecycleNode:
    """Return the node, with the parameter file and the arguments that were given."""
    params_file = LaunchConfiguration('params_file').perform(context)
    if not Path(params_file).is_file():
        msg = f'params_file is {params_file}: there is no such file'
        raise ParameterError(msg)
    return LifecycleNode(
        name=NAME,
        namespace=LaunchConfiguration('namespace'),
        remappings=[('image', LaunchConfiguration('image_topic'))],
        parameters=[params_file, given_parameters(context)],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        output='screen',
        **program(),
    )


def given_parameters(context: LaunchContext) -> dict[str, ParameterValue]:
    """Return the parameters whose launch arguments were given."""
    values = {}
    for name in SPECS:
        text = LaunchConfiguration(name).perform(context)
        if text:
            value = from_text(name, text)
            values[name] = ParameterValue(value, value_type=type(value))
    if LaunchConfiguration('use_sim_time').perform(context):
        use_sim_time = LaunchConfiguration('use_sim_time')
        values['use_sim_time'] = ParameterValue(use_sim_time, value_type=bool)
    return values


def program() -> dict[str, object]:
    """Return what to run: the installed executable, else the module (from pip or the sources)."""
    try:
        installed = Path(get_package_prefix(PACKAGE), 'lib', PACKAGE, EXECUTABLE)
    except (PackageNotFoundError, OSError):
        installed = None
    if installed is not None and installed.is_file():
        return {'package': PACKAGE, 'executable': EXECUTABLE}
    return {'executable': sys.executable, 'arguments': ['-m', f'{PACKAGE}.{EXECUTABLE}']}


def rviz() -> Node:
    """Return RViz with the topics of its configuration moved to where they are."""
    return Node(
        condition=IfCondition(LaunchConfiguration('rviz')),
        package='rviz2',
        executable='rviz2',
        name='rviz2',
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', LaunchConfiguration('rviz_config')],
        remappings=[
            ('/image', LaunchConfiguration('image_topic')),
            (f'/{NAME}/overlay', f'{NAME}/overlay'),
            (f'/{NAME}/color', f'{NAME}/color'),
        ],
        output='log',
    )
