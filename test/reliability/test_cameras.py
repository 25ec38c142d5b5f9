"""Cameras that do what cameras on a robot do: the labels go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rcl_interfaces.msg import Log
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from lemore_core.common.memory import process_memory
from lemore_ros.messages.images import read_image

NAME = '/lemore_segmentation'
SIZE = (60, 80)
CHANNELS = {'bgr8': 3, 'rgb8': 3, 'rgba8': 4, 'mono8': 1}

MakeImage = Callable[..., Image]


def noise(number: int, size: tuple[int, int], encoding: str) -> Image:
    height, width = size
    step = width * CHANNELS[encoding]
    message = Image(height=height, width=width, step=step, encoding=encoding)
    message.data = np.random.default_rng(number).bytes(height * step)
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, number
    return message


def depth_image(metres: float, stamp: Time) -> Image:
    height, width = SIZE
    message = Image(height=height, width=width, step=4 * width, encoding='32FC1')
    message.data = np.full(SIZE, metres, '<f4').tobytes()
    message.header.stamp = stamp
    return message


def pinhole() -> CameraInfo:
    info = CameraInfo(height=SIZE[0], width=SIZE[1])
    info.k = [100.0, 0.0, 40.0, 0.0, 100.0, 30.0, 0.0, 0.0, 1.0]
    return info


@pytest.mark.usefixtures('active')
def test_a_camera_comes_and_goes(graph: Any, make_image: MakeImage) -> None:
    labels = graph.collect(Image, f'{NAME}/labels')
    for stamp in range(1, 9):
        camera = graph.publisher()
        graph.labels_of(camera, make_image(stamp), labels)
        graph.peer.destroy_publisher(camera)
    assert len(labels) == 8


def test_size_and_encoding_change_in_flight(graph: Any, active: Any) -> None:
    labels = graph.collect(Image, f'{NAME}/labels')
    camera = graph.publisher()
    # more aspects than networks stay loaded, each more than once
    sizes = [(60, 80), (45, 80), (80, 60), (64, 64), (40, 100), (33, 57)]
    number = 0
    for _ in range(2):
        for size in sizes:
            for encoding in CHANNELS:
                number += 1
                message = noise(number, size, encoding)
                found = graph.labels_of(camera, message, labels)
                assert read_image(found).pixels.shape == size
                assert found.header == message.header
    assert active.stats['']['failed'] == 0


@pytest.mark.usefixtures('active')
def test_stamps_of_zero_and_stamps_that_run_backwards(graph: Any, make_image: MakeImage) -> None:
    labels = graph.collect(Image, f'{NAME}/labels')
    log = graph.collect(Log, '/rosout')
    camera = graph.publisher()
    for seconds in (500, 400, 0, 300, -1, 600, 100):
        message = make_image(1)
        message.header.stamp = Time(sec=seconds)
        found = graph.labels_of(camera, message, labels)
        assert found.header == message.header
    old, zero = graph.wait_for(lambda: [m.msg for m in log if m.level >= 30][1:] and log)
    assert 'ms old: unknown clock, its age is not counted' in old.msg
    assert zero.msg == '/image: images have no time stamp; labels carry the same zero stamp'


def test_a_bag_that_starts_over_pairs_its_own_depth(
    graph: Any, untrained: dict[str, Any], make_image: MakeImage
) -> None:
    node = graph.node(**untrained, use_sim_time=True, depth_tolerance_ms=100.0)
    assert node.start()
    labels = graph.collect(Image, f'{NAME}/labels')
    clouds = graph.collect(PointCloud2, f'{NAME}/points')
    camera, depth, clock = (
        graph.publisher('/image'),
        graph.publisher('/depth'),
        graph.publisher('/clock', Clock),
    )
    graph.publisher('/camera_info', CameraInfo).publish(pinhole())
    (of_camera,) = node.worker.cameras
    graph.wait_for(lambda: of_camera.subscriptions.info, 'the calibration')
    # the second time the same moments are 2 m away
    for loop in (1, 2):
        for tenth in range(20):
            stamp = Time(sec=100 + tenth // 10, nanosec=tenth % 10 * 100_000_000)
            clock.publish(Clock(clock=stamp))
            graph.wait_for(lambda t=stamp: node.get_clock().now().to_msg() == t, 'the time')
            depth.publish(depth_image(loop, stamp))
            graph.wait_for(
                lambda t=stamp, m=loop: (
                    (held := of_camera.subscriptions.depth.nearest(t.sec * 10**9 + t.nanosec, 0))
                    and held.data[:4].tobytes() == np.float32(m).tobytes()
                ),
                'the depth',
            )
            message = make_image(tenth + 1)
            message.header.stamp = stamp
            del labels[:]
            graph.labels_of(camera, message, labels)
            count = 20 * (loop - 1) + tenth + 1
            graph.wait_for(lambda n=count: len(clouds) == n, 'the points')
            points = np.frombuffer(clouds[-1].data, '<f4').reshape(*SIZE, 6)
            assert clouds[-1].header.stamp == stamp
            assert (points[..., 2] == loop).all()
    assert node.stats['']['labelled'] == 40


def test_a_node_that_is_switched_on_and_off_stays_small(
    graph: Any, active: Any, make_image: MakeImage
) -> None:
    camera = graph.peer.create_publisher(Image, '/image', 5)
    message = make_image(1, size=(480, 640))
    resident = []
    for _ in range(20):
        found: list[Image] = []
        listener = graph.peer.create_subscription(Image, f'{NAME}/overlay', found.append, 5)
        graph.wait_for(camera.get_subscription_count)
        graph.film(camera, message, lambda seen=found: seen)
        graph.peer.destroy_subscription(listener)
        graph.wait_for(lambda: not camera.get_subscription_count())
        resident.append(process_memory().resident_mb)
    assert max(resident[10:]) - max(resident[:5]) < 15
    assert active.stats['']['failed'] == 0
