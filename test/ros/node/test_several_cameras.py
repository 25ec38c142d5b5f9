"""One network for several cameras, whatever one of them does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image

from lemore_core.segmenter import Segmenter
from lemore_ros.messages.images import read_image

NAME = '/lemore_segmentation'

MakeImage = Callable[..., Image]


def test_each_has_its_own_topics_headers_sizes_and_encodings(
    graph: Any, untrained: dict[str, Any], make_image: MakeImage, reference: Segmenter
) -> None:
    names = ['front', 'robot/rear']
    assert graph.node(**untrained, camera_names=names, rotate=[0, 180]).start()
    labels = {name: graph.collect(Image, f'{NAME}/{name}/labels') for name in names}
    cameras = {name: graph.publisher(f'/{name}/image') for name in names}
    colored = make_image(1, size=(60, 80), frame_id='front/optical')
    grey = make_image(2, size=(48, 64), frame_id='rear/optical')
    grey.encoding, grey.step, grey.data = 'mono8', 64, grey.data[: 48 * 64]
    for name, message in {'front': colored, 'robot/rear': grey}.items():
        found = graph.labels_of(cameras[name], message, labels[name])
        assert found.header == message.header
        frame = read_image(message)._replace(rotation=180 if name == 'robot/rear' else 0)
        expected = reference.segment_batch([frame])[0].labels
        assert np.array_equal(read_image(found).pixels, expected)
    assert [len(found) for found in labels.values()] == [1, 1]
    diagnostics = graph.collect(DiagnosticArray, '/diagnostics')
    graph.wait_for(lambda: diagnostics)
    prefix = 'lemore_segmentation: segmentation'
    assert [status.name for status in diagnostics[0].status] == [
        f'{prefix} {name}' for name in names
    ]
    topics = {name for name, _ in graph.peer.get_topic_names_and_types()}
    assert f'{NAME}/robot/rear/classes' in topics
    assert f'{NAME}/labels' not in topics
