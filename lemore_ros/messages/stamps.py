"""The stamp of a ``std_msgs/Header`` in nanoseconds, of a message or within its bytes.

CDR puts four bytes of encapsulation first, then ``stamp.sec`` (int32) and ``stamp.nanosec``
(uint32): DDS-XTypes, RTPS encapsulation; rosbag2 and rclpy's raw messages use it alike.
"""

from __future__ import annotations

import struct
from typing import Any

_OFFSET = 4
_LITTLE_ENDIAN = 1


def stamp_ns(header: Any) -> int:
    """Return a header's stamp in nanoseconds."""
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
