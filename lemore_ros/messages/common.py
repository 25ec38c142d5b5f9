"""Message classes by name, and stamps of messages and of their serialised bytes.

CDR puts four bytes of encapsulation first, then ``stamp.sec`` (int32) and ``stamp.nanosec``
(uint32): DDS-XTypes, RTPS encapsulation; rosbag2 and rclpy's raw messages use it alike.
"""

from __future__ import annotations

import struct
from importlib import import_module
from typing import Any

from lemore_core.common.errors import LemoreError
from lemore_ros.outputs import Transport

_OFFSET = 4
_LITTLE_ENDIAN = 1


class TransportError(LemoreError):
    """An image transport whose message package is not installed."""


def message_class(name: str) -> Any:
    """Return the class of a message type such as ``std_msgs/msg/String``, ``None`` if missing."""
    package, _, kind = name.partition('/msg/')
    try:
        return getattr(import_module(f'{package}.msg'), kind)
    except ModuleNotFoundError:
        return None


def transport_class(transport: Transport) -> Any:
    """Return the message class of a transport."""
    kind = message_class(transport.type)
    if kind is None:
        msg = (
            f'image_transport is {transport.name}, and {transport.package} is not installed: '
            f'apt install ros-$ROS_DISTRO-{transport.package.replace("_", "-")}'
        )
        raise TransportError(msg)
    return kind


def stamp_ns(header: Any) -> int:
    """Return the stamp of a header in nanoseconds."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def read_stamp(data: bytes | bytearray) -> int:
    """Return the stamp, in nanoseconds, of a serialised message that begins with a header."""
    seconds, nanoseconds = struct.unpack_from(_format(data), data, _OFFSET)
    return int(seconds) * 10**9 + int(nanoseconds)


def write_stamp(data: bytearray, stamp: int) -> None:
    """Set the stamp, in nanoseconds, of a serialised message that begins with a header."""
    struct.pack_into(_format(data), data, _OFFSET, stamp // 10**9, stamp % 10**9)


def _format(data: bytes | bytearray) -> str:
    return '<iI' if data[1] & _LITTLE_ENDIAN else '>iI'
