"""A camera's new size never keeps anybody from labels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import Image

from lemore_core.segmenter import Segmenter
from lemore_ros.messages.images import read_image

NAME = '/lemore_segmentation'
WIDE = (90, 160)

MakeImage = Callable[..., Image]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What the loading of another size waits for."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def node(graph: Any, untrained: dict[str, Any], gate: threading.Event) -> Any:
    """A node of two cameras."""
    node = graph.node(**untrained, camera_names=['front', 'rear'])
    assert node.start()
    sizes = node._segmenter._sizes
    load = sizes._load

    def load_later(size: tuple[int, int]) -> Any:
        assert gate.wait(30)
        return load(size)

    sizes._load = load_later
    return node


def test_all_cameras_are_labelled_while_a_size_is_prepared(
    graph: Any, node: Any, gate: threading.Event, untrained: dict[str, Any], make_image: MakeImage
) -> None:
    labels = {name: graph.collect(Image, f'{NAME}/{name}/labels') for name in ('front', 'rear')}
    cameras = {name: graph.publisher(f'/{name}/image') for name in labels}
    status = graph.collect(DiagnosticArray, f'{NAME}/status')
    for stamp in range(1, 8):
        graph.labels_of(cameras['front'], make_image(stamp), labels['front'])
        found = graph.labels_of(cameras['rear'], make_image(stamp, size=WIDE), labels['rear'])
        assert (found.height, found.width) == WIDE
    del status[:]
    front, rear = graph.wait_for(lambda: status)[0].status
    assert (front.level, front.message) == (DiagnosticStatus.OK, 'segmenting')
    assert (rear.level, rear.message) == (DiagnosticStatus.OK, 'segmenting, preparing 160x90')

    gate.set()
    loading = node._segmenter._sizes._loading
    assert loading is not None
    graph.wait_for(lambda: not loading.is_running, 'the new size')
    message = make_image(99, size=WIDE)
    found = graph.labels_of(cameras['rear'], message, labels['rear'])
    reference = Segmenter.load(untrained['model'], backend='torch', device='cpu')
    expected = reference.segment(read_image(message).pixels, 'bgr8')
    assert np.array_equal(read_image(found).pixels, expected.labels)
    for stats in node._stats.values():
        assert stats['labelled'] == stats['received']
