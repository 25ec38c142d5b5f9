"""The shipped layout of Foxglove shows what the node publishes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from lemore_ros.node.camera_stats import CameraStats
from lemore_ros.node.segmentation_node import NAME
from lemore_ros.outputs import OUTPUTS
from lemore_ros.share import share_directory

LAYOUT = share_directory() / 'config' / 'foxglove' / 'lemore.json'
SHOWN_BY = {
    'Image': 'sensor_msgs/msg/Image',
    '3D': 'sensor_msgs/msg/PointCloud2',
    'RawMessages': 'std_msgs/msg/String',
}


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from (name, *texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def panels(layout: Any) -> list[str]:
    if isinstance(layout, str):
        return [layout]
    return [*panels(layout['first']), *panels(layout['second'])]


def test_every_topic_is_one_of_the_node_and_of_the_panels_kind() -> None:
    content = json.loads(LAYOUT.read_text(encoding='utf-8'))
    assert sorted(panels(content['layout'])) == sorted(content['configById'])
    shown = set()
    for panel, config in content['configById'].items():
        for text in texts(config):
            if text.startswith(f'/{NAME}/') and '.' not in text:
                output = OUTPUTS[text.removeprefix(f'/{NAME}/')]
                assert output.type == SHOWN_BY[panel.partition('!')[0]]
                shown.add(output.name)
    assert shown == {'overlay', 'color', 'points', 'classes'}


def test_every_figure_is_one_of_the_diagnostics() -> None:
    values = CameraStats().verdict().values
    paths = re.findall(
        rf'/{NAME}/status\.status\[0\]\.values\[:\]{{key==\\"(\w+)\\"}}', LAYOUT.read_text()
    )
    assert len(paths) == 2
    assert set(paths) <= values.keys()
