"""A bag that is labelled offline has the labels that the live node gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

pytest.importorskip('rosbags', reason='rosbags is not installed')

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.parts import BagSegmentation
from lemore_ros.bags.reader import open_bag

NODE = '/lemore_segmentation'
TOPIC = '/camera/image_raw'


def test_labels_are_those_of_the_live_node(graph: Any, tmp_path: Path) -> None:
    asked = {'min_confidence': 0.3, 'output_size': '64x48'}
    drive, labelled = tmp_path / 'drive', tmp_path / 'labelled'
    sizes = [(60, 80), (60, 80), (48, 64), (60, 80)]
    with Writer(drive, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        store = get_typestore(Stores.ROS2_JAZZY)
        connection = writer.add_connection(TOPIC, 'sensor_msgs/msg/Image', typestore=store)
        for stamp, size in enumerate(sizes, 1):
            writer.write(connection, stamp, serialize_message(graph.image(stamp, size=size)))
    options = SegmentOptions(**graph.untrained, **asked, file_frames=2)
    BagSegmentation([drive], labelled, options, resume=False).segment(lambda _: None)
    graph.start(**asked)
    live = {name: graph.collect(Image, f'{NODE}/{name}') for name in ('labels', 'confidence')}
    camera = graph.publisher()
    with open_bag(labelled) as bag:
        recorded = [r.data for r in bag.messages([bag.topic(TOPIC)])]
        for index, data in enumerate(recorded):
            graph.labels_of(camera, deserialize_message(data, Image), live['labels'])
            confidences = live['confidence']
            graph.wait_for(lambda n=index, found=confidences: len(found) > n, 'confidence')
        for name, messages in live.items():
            offline = [r.data for r in bag.messages([bag.topic(f'{NODE}/{name}')])]
            # stamps, sizes, encodings and pixels; bytes between the fields are left to chance
            assert [deserialize_message(data, Image) for data in offline] == messages
            assert len(offline) == len(sizes)
    assert len(np.unique(np.concatenate([m.data for m in live['labels']]))) > 2
