"""Start the segmentation node for a camera, and RViz with ``rviz:=true``.

Arguments override ``params_file``.
"""

from __future__ import annotations

from launch import LaunchDescription

from lemore_ros.launch_utils import node_and_rviz


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, and start the node and RViz."""
    return node_and_rviz()
