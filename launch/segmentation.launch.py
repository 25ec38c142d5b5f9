"""Start the segmentation node for a camera, and RViz where it is asked for.

An argument that is given wins over ``params_file``; one that is not given leaves it alone.
"""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import OpaqueFunction

from lemore_ros.launch_utils import (
    arguments,
    misspelt,
    rviz,
    segmentation_node,
    shared_memory,
)


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, and start what they ask for."""
    return LaunchDescription([*arguments(), OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return the actions for the arguments' values."""
    return [*misspelt(context), *shared_memory(context), segmentation_node(context), *rviz(context)]
