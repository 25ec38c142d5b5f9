"""Rules of nav2's layer (ros-navigation/semantic_segmentation_layer) and elevation_mapping_cupy for topics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from lemore_core.taxonomy import BUILT_IN_GROUPS, load_groups, load_taxonomy, mask_tables
from lemore_ros.messages.camera_info import field_of_view
from lemore_ros.outputs import CAMERA_INFO, mask_outputs

CONFIG = Path(__file__).parents[2] / 'config'
NODE = '/lemore_segmentation'
LATCHED = QoSProfile(
    depth=5,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# parameters that the layer declares, for itself, a source and a type of classes
LAYER = {
    *('plugin', 'enabled', 'combination_method', 'observation_sources', 'publish_debug_topics'),
    *('use_approximate_time_sync', 'sensor_data_depth'),
}
SOURCE = {
    *('segmentation_topic', 'confidence_topic', 'labels_topic', 'pointcloud_topic', 'class_types'),
    *('observation_persistence', 'expected_update_rate', 'use_cost_selection'),
    *('max_obstacle_distance', 'min_obstacle_distance', 'tile_map_decay_time'),
    *('camera_horizontal_fov', 'camera_vertical_fov', 'fov_decay_time', 'outside_fov_decay_time'),
    *('visualize_tile_map', 'visualize_frustum_fov'),
}
TYPE = {
    *('classes', 'base_cost', 'max_cost', 'mark_confidence', 'samples_to_max_cost'),
    'dominant_priority',
}
TOPICS = {'segmentation_topic': Image, 'confidence_topic': Image, 'pointcloud_topic': PointCloud2}


def layer() -> Any:
    text = (CONFIG / 'nav2' / 'semantic_segmentation_layer.yaml').read_text(encoding='utf-8')
    return yaml.safe_load(text)['local_costmap']['local_costmap']['ros__parameters'][
        'semantic_layer'
    ]


def test_the_costs_are_of_the_groups_of_every_built_in_table() -> None:
    source = layer()['camera']
    named = [name for kind in source['class_types'] for name in source[kind]['classes']]
    assert len(set(named)) == len(named)
    for table in BUILT_IN_GROUPS:
        groups = load_groups('auto', load_taxonomy(table)).taxonomy
        assert set(named) == set(groups.classes) - {'sky'}, table
    for kind in source['class_types']:
        assert 0 <= source[kind]['base_cost'] <= source[kind]['max_cost'] <= 254
    assert source[source['class_types'][-1]]['max_cost'] == 254


def test_the_layer_knows_every_parameter() -> None:
    found = layer()
    source = found['camera']
    assert found.keys() <= {*LAYER, 'camera'}
    assert source.keys() <= {*SOURCE, *source['class_types']}
    for kind in source['class_types']:
        assert source[kind].keys() == TYPE
    # stamps are equal; a queue of the layer's default holds what comes within a second at 10 Hz
    assert (found['use_approximate_time_sync'], found['sensor_data_depth']) == (False, 10)
    info = CameraInfo(height=480, width=640, k=[615.0, 0, 320, 0, 615, 240, 0, 0, 1])
    view = source['camera_horizontal_fov'], source['camera_vertical_fov']
    assert field_of_view(info, height=480, width=640) == pytest.approx(view, abs=1e-3)


def test_the_layer_gets_what_it_synchronises(graph: Any) -> None:
    # a depth image of another size than the camera's
    graph.start(class_groups='auto', output_size='40x30')
    source = layer()['camera']
    queue = layer()['sensor_data_depth']
    sensor_data = QoSProfile(depth=queue, reliability=ReliabilityPolicy.BEST_EFFORT)
    messages = {key: graph.collect(kind, source[key], sensor_data) for key, kind in TOPICS.items()}
    camera, depth = graph.publisher(), graph.publisher('/depth')
    info = CameraInfo(height=60, width=80, k=[50.0, 0, 40, 0, 50, 30, 0, 0, 1])
    graph.publisher('/camera_info', CameraInfo).publish(info)
    image = graph.image(1)
    measured = Image(height=30, width=40, encoding='16UC1', step=80, header=image.header)
    measured.data = (1000).to_bytes(2, 'little') * (30 * 40)
    depth.publish(measured)
    # points come once the depth and the calibration are there
    graph.film(camera, image, lambda: all(messages.values()))
    vision_msgs = pytest.importorskip('vision_msgs.msg')
    tables = graph.collect(vision_msgs.LabelInfo, source['labels_topic'], LATCHED)
    graph.wait_for(lambda: tables, 'the table of a node that published it before')
    kinds = [name for kind in source['class_types'] for name in source[kind]['classes']]
    assert {entry.class_name for entry in tables[0].class_map} == {*kinds, 'sky'}
    assert graph.set(class_groups='', min_confidence=0.25)[0].successful
    graph.wait_for(lambda: len(tables) > 1 and tables[-1].threshold == 0.25)
    named = [(entry.class_id, entry.class_name) for entry in tables[-1].class_map]
    assert named == list(enumerate(load_taxonomy('camvid').classes))
    labels, confidence, cloud = (found[0] for found in messages.values())
    assert labels.header == confidence.header == cloud.header == image.header
    assert labels.encoding == confidence.encoding == 'mono8'
    assert labels.width * labels.height == cloud.width * cloud.height == len(labels.data)
    assert len(confidence.data) == len(labels.data)
    names = load_groups('auto', load_taxonomy('camvid')).taxonomy.classes
    assert {*labels.data} <= {*range(len(names)), 255}


@pytest.mark.parametrize('table', BUILT_IN_GROUPS)
def test_the_layers_of_the_elevation_map_are_masks(table: str) -> None:
    text = (CONFIG / 'elevation_mapping' / 'lemore_masks.yaml').read_text(encoding='utf-8')
    subscribers = yaml.safe_load(text)['/elevation_mapping_node']['ros__parameters']['subscribers']
    names = [name for entry in subscribers.values() for name in entry['channels']]
    assert mask_tables(names, load_taxonomy(table)).keys() == set(names)
    for entry in subscribers.values():
        mask, info = mask_outputs(entry['channels'][0])
        assert entry['data_type'] == 'image'
        assert entry['topic_name'] == f'{NODE}/{mask.name}'
        assert entry['camera_info_topic_name'] == f'{NODE}/{info.name}'
        assert info.type == CAMERA_INFO
