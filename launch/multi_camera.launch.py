"""Start one segmentation node for several cameras, and RViz where it is asked for.

The cameras share the network. ``camera_names`` and ``image_topic`` say which there are and where
their images come from: with ``front,rear`` and ``{camera}/image_raw`` these are ``front/image_raw``
and ``rear/image_raw``, and the labels are on ``lemore_segmentation/front/labels`` and so on. Any
other argument that is given wins over ``params_file``; one that is not given leaves it alone.
"""

from __future__ import annotations

from launch import LaunchDescription

from lemore_ros.launch_utils import CAMERA, SHOWN_CAMERAS, node_and_rviz


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, and start what they ask for."""
    return node_and_rviz(camera_names=','.join(SHOWN_CAMERAS), image_topic=f'{CAMERA}/image_raw')
