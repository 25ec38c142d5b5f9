"""Start the segmentation node for a camera, and RViz where it is asked for.

An argument that is given wins over ``params_file``; one that is not given leaves it alone.
"""

from __future__ import annotations

from launch import LaunchDescription

from lemore_ros.launch_utils import node_and_rviz


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, and start what they ask for."""
    return node_and_rviz()
