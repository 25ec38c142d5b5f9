"""The shipped configurations of RViz show what the node publishes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lemore_ros.node.segmentation_node import NAME
from lemore_ros.outputs import OUTPUTS
from lemore_ros.share import share_directory

CONFIGS = sorted((share_directory() / 'config' / 'rviz').glob('*.rviz'))
# the display classes of rviz_default_plugins that are used, and the messages that they show
DISPLAYS = {
    'rviz_default_plugins/Image': 'sensor_msgs/msg/Image',
    'rviz_default_plugins/PointCloud2': 'sensor_msgs/msg/PointCloud2',
    'rviz_default_plugins/Axes': None,
}


def displays(path: Path) -> list[dict[str, Any]]:
    config = yaml.safe_load(path.read_text(encoding='utf-8'))
    found: list[dict[str, Any]] = config['Visualization Manager']['Displays']
    return found


def test_there_is_one_for_a_camera_for_four_and_for_points() -> None:
    names = [path.stem for path in CONFIGS]
    assert names == ['multi_camera', 'point_cloud', 'segmentation']
    cameras = displays(CONFIGS[0])
    assert len({display['Topic']['Value'] for display in cameras}) == 4


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_topic_is_one_of_the_node_and_of_the_displays_kind(path: Path) -> None:
    for display in displays(path):
        kind = DISPLAYS[display['Class']]
        topic = display.get('Topic', {}).get('Value')
        if kind is None or topic == '/image':
            continue
        prefix, name, *camera, output = topic.split('/')
        assert (prefix, name) == ('', NAME)
        assert camera in ([], ['front'], ['left'], ['right'], ['rear'])
        assert OUTPUTS[output].type == kind
        # the numbers of labels would be nearly black, and nothing of the node is transient
        assert output != 'labels'
        assert display['Topic']['Durability Policy'] == 'Volatile'


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_display_has_a_name_and_a_image_its_place(path: Path) -> None:
    config = yaml.safe_load(path.read_text(encoding='utf-8'))
    names = [display['Name'] for display in displays(path)]
    assert len(set(names)) == len(names)
    images = {d['Name'] for d in displays(path) if d['Class'].endswith('/Image')}
    assert images <= set(config['Window Geometry'])
    assert all(display['Enabled'] for display in displays(path))


def test_points_are_coloured_by_their_class() -> None:
    (points,) = [d for d in displays(CONFIGS[1]) if d['Class'].endswith('PointCloud2')]
    assert points['Color Transformer'] == 'RGB8'
    assert points['Topic']['Value'] == f'/{NAME}/points'
