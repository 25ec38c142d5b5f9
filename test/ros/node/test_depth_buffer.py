from __future__ import annotations

from sensor_msgs.msg import Image

from lemore_ros.messages.common import stamp_ns
from lemore_ros.node.subscriptions import DepthBuffer

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def depth(nanoseconds: int) -> Image:
    image = Image()
    image.header.stamp.sec, image.header.stamp.nanosec = divmod(nanoseconds, SECOND)
    return image


def filled(*nanoseconds: int, capacity: int = 30) -> DepthBuffer:
    buffer = DepthBuffer(capacity=capacity)
    for value in nanoseconds:
        buffer.put(depth(value))
    return buffer


def found(buffer: DepthBuffer, stamp: int, tolerance: int = 10) -> int | None:
    message = buffer.nearest(stamp, tolerance)
    return None if message is None else stamp_ns(message.header)


def test_the_nearest_within_the_tolerance_is_found() -> None:
    buffer = filled(START, START + 100, START + 200)
    assert found(buffer, START) == START
    assert found(buffer, START + 96) == START + 100
    assert found(buffer, START + 210) == START + 200
    assert found(buffer, START - 10) == START
    assert found(buffer, START + 111) is None
    assert found(buffer, START - 11) is None
    assert found(buffer, START + 150, 50) == START + 100
    assert found(buffer, START + 151, 50) == START + 200
    assert found(buffer, START + 100, 0) == START + 100
    again = depth(START + 100)
    buffer.put(again)
    assert buffer.nearest(START + 100, 0) is again
    assert len(buffer) == 3


def test_the_oldest_goes_first() -> None:
    buffer = filled(START + 300, START + 200, START + 400, capacity=2)
    assert len(buffer) == 2
    assert found(buffer, START + 200) is None
    # too late to be of use
    buffer.put(depth(START + 100))
    assert found(buffer, START + 100) is None
    assert found(buffer, START + 300) == START + 300


def test_a_stamp_from_the_future_does_no_lasting_harm() -> None:
    buffer = filled(START, START + 3600 * SECOND, START + 100, START + 200)
    assert found(buffer, START + 3600 * SECOND) is None
    assert found(buffer, START + 100) == START + 100
    assert len(buffer) == 2


def test_without_stamps_the_newest_is_the_partner() -> None:
    buffer = filled(0, START)
    newest = depth(0)
    buffer.put(newest)
    assert buffer.nearest(0, 10) is newest
    assert found(buffer, 5, 10) is None
    assert found(buffer, START) == START
    buffer.clear()
    assert found(buffer, 0) is None
    assert len(buffer) == 0
