"""Cameras that come and go, change, and start over: the labels continue."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from lemore_core.inference import torch_backend
from lemore_core.segmenter import Segmenter
from lemore_ros.messages.images import read_image

NAME = '/lemore_segmentation'
SIZE, WIDE = (60, 80), (90, 160)


def test_size_and_encoding_change_in_flight(graph: Any, active: Any) -> None:
    labels = graph.labels()
    camera = graph.publisher()
    # more aspects than networks stay loaded, each more than once
    sizes = 2 * [(60, 80), (45, 80), (80, 60), (64, 64), (40, 100), (33, 57)]
    for number, (height, width) in enumerate(sizes, 1):
        for encoding, channels in {'bgr8': 3, 'rgb8': 3, 'rgba8': 4, 'mono8': 1}.items():
            step = width * channels
            message = Image(height=height, width=width, step=step, encoding=encoding)
            message.data = np.random.default_rng(number).bytes(height * step)
            message.header.stamp = Time(sec=number, nanosec=len(labels))
            found = graph.labels_of(camera, message, labels)
            assert read_image(found).pixels.shape == (height, width)
            assert found.header == message.header
    assert (active.stats['']['failed'], active.stats['']['labelled']) == (0, 48)


def test_a_bag_that_starts_over_pairs_its_own_depth(graph: Any) -> None:
    graph.start(use_sim_time=True, depth_tolerance_ms=600.0)
    clouds = graph.collect(PointCloud2, f'{NAME}/points')
    camera, depth = graph.publisher('/image'), graph.publisher('/depth')
    clock = graph.publisher('/clock', Clock)
    info = CameraInfo(height=SIZE[0], width=SIZE[1])
    info.k = [100.0, 0.0, 40.0, 0.0, 100.0, 30.0, 0.0, 0.0, 1.0]
    graph.publisher('/camera_info', CameraInfo).publish(info)

    def distance(stamp: Time) -> float:
        if not clouds or clouds[-1].header.stamp != stamp:
            return 0.0
        z = np.frombuffer(clouds[-1].data, '<f4').reshape(*SIZE, 6)[..., 2]
        assert (z == z[0, 0]).all()
        return float(z[0, 0])

    # the second time the same moments are 2 m away
    for metres in (1.0, 2.0):
        for half in range(5):
            stamp = Time(sec=100 + half // 2, nanosec=half % 2 * 500_000_000)
            clock.publish(Clock(clock=stamp))
            measured = Image(height=SIZE[0], width=SIZE[1], step=4 * SIZE[1], encoding='32FC1')
            measured.data = np.full(SIZE, metres, '<f4').tobytes()
            message = graph.image(half)
            measured.header.stamp = message.header.stamp = stamp
            depth.publish(measured)
            if half == 0:  # the image may come before the depth
                graph.film(camera, message, lambda s=stamp, m=metres: distance(s) == m)
            else:
                assert graph.film(camera, message, lambda s=stamp: distance(s)) == metres


def test_all_cameras_are_labelled_while_a_size_is_prepared(
    graph: Any, untrained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph.start(camera_names=['front', 'rear'])
    gate, load = threading.Event(), torch_backend.load

    def load_later(*arguments: Any) -> Any:
        assert gate.wait(30)
        return load(*arguments)

    monkeypatch.setattr(torch_backend, 'load', load_later)
    labels = {name: graph.collect(Image, f'{NAME}/{name}/labels') for name in ('front', 'rear')}
    cameras = {name: graph.publisher(f'/{name}/image') for name in labels}
    status = graph.collect(DiagnosticArray, '/diagnostics')
    for stamp in range(1, 8):
        graph.labels_of(cameras['front'], graph.image(stamp), labels['front'])
        found = graph.labels_of(cameras['rear'], graph.image(stamp, size=WIDE), labels['rear'])
        assert (found.height, found.width) == WIDE
    del status[:]
    front, rear = graph.wait_for(lambda: status)[0].status
    assert (front.level, front.message) == (DiagnosticStatus.OK, 'segmenting')
    assert (rear.level, rear.message) == (DiagnosticStatus.OK, 'segmenting, preparing 160x90')
    gate.set()
    message = graph.image(99, size=WIDE)
    reference = Segmenter.load(untrained['model'], backend='torch', device='cpu')
    expected = reference.segment(read_image(message).pixels, 'bgr8').labels
    graph.film(
        cameras['rear'],
        message,
        lambda: np.array_equal(read_image(labels['rear'][-1]).pixels, expected),
        'labels at the new size',
    )
