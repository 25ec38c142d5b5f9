from __future__ import annotations

from typing import Any

import pytest
from sensor_msgs.msg import Image, PointCloud2

from lemore_ros.messages.common import stamp_ns
from lemore_ros.node.subscriptions import DepthBuffer

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
HOUR = START + 3600 * SECOND


def depth(nanoseconds: int) -> Image:
    image = Image()
    image.header.stamp.sec, image.header.stamp.nanosec = divmod(nanoseconds, SECOND)
    return image


@pytest.mark.parametrize(
    ('stamps', 'wanted', 'tolerance', 'expected'),
    [
        ([0, 100, 200], START, 10, START),
        ([0, 100, 200], START + 210, 10, START + 200),
        ([0, 100, 200], START - 10, 10, START),
        ([0, 100, 200], START + 111, 10, None),
        ([0, 100, 200], START - 11, 10, None),
        ([0, 100, 200], START + 150, 50, START + 100),
        ([0, 100, 200], START + 151, 50, START + 200),
        ([0, 100, 200], START + 100, 0, START + 100),
        # the oldest goes first, and one that is too late is of no use
        ([300, 200, 400, 500, 100], START + 200, 10, None),
        ([300, 200, 400, 500, 100], START + 100, 10, None),
        ([300, 200, 400, 500, 100], START + 300, 10, START + 300),
        # a stamp from the future does no lasting harm
        ([0, HOUR - START, 100], HOUR, 10, None),
        ([0, HOUR - START, 100], START + 100, 10, START + 100),
        # without a stamp there is no partner with one
        ([-START, 0], 0, 10, 0),
        ([-START, 0], 5, 10, None),
        ([-START, 0], START, 10, START),
    ],
)
def test_the_nearest_within_the_tolerance_is_found(
    stamps: list[int], wanted: int, tolerance: int, expected: int | None
) -> None:
    buffer = DepthBuffer(capacity=3)
    for stamp in stamps:
        buffer.put(depth(START + stamp))
    message = buffer.nearest(wanted, tolerance)
    assert (None if message is None else stamp_ns(message.header)) == expected


@pytest.mark.parametrize(('size', 'kept'), [(1, 5), (25, 4), (40, 2), (60, 1), (200, 1)])
def test_large_ones_are_few(size: int, kept: int) -> None:
    buffer = DepthBuffer(capacity=5, capacity_bytes=100)
    for number in range(8):
        message = depth(START + number)
        message.data = bytes(size)
        buffer.put(message)
        assert buffer.nearest(START + number, 0) is message
    assert len(buffer) == kept


def test_what_is_no_depth_image_is_not_kept(graph: Any, active: Any) -> None:
    log = graph.log()
    graph.collect(PointCloud2, '/lemore_segmentation/points')
    camera = graph.publisher('/depth')
    camera.publish(Image(encoding='mono16'))
    graph.wait_for(lambda: [m for m in log if "/image: depth has encoding 'mono16'" in m.msg])
    kept = active.worker.cameras[0].subscriptions.depth
    assert len(kept) == 0
    camera.publish(Image(encoding='16UC1', height=1, width=1, step=2, data=bytes(2)))
    graph.wait_for(lambda: len(kept))


@pytest.mark.parametrize('stamp', [0, START])
def test_the_newest_of_one_stamp_stays(stamp: int) -> None:
    buffer, newest = DepthBuffer(), depth(stamp)
    for message in (depth(stamp), newest):
        buffer.put(message)
    assert buffer.nearest(stamp, 0) is newest
    assert len(buffer) == 1
    buffer.clear()
    assert buffer.nearest(stamp, 0) is None
