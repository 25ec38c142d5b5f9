"""Start one segmentation node for several cameras, and RViz with ``rviz:=true``.

The cameras share the network. With ``camera_names:=front,rear`` and
``image_topic:={camera}/image_raw`` images come from ``front/image_raw`` and ``rear/image_raw``, and
labels are on ``lemore_segmentation/front/labels`` and so on.
"""

from __future__ import annotations

from launch import LaunchDescription

from lemore_ros.launch_utils import CAMERA, SHOWN_CAMERAS, node_and_rviz


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, and start the node and RViz."""
    return node_and_rviz(camera_names=','.join(SHOWN_CAMERAS), image_topic=f'{CAMERA}/image_raw')
