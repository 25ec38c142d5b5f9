"""The stamp of a serialised message that begins with a std_msgs/Header, read or set in place.

CDR puts four bytes of encapsulation first, then ``stamp.sec`` (int32) and ``stamp.nanosec``
(uint32): DDS-XTypes, RTPS encapsulation; rosbag2 and rclpy's raw messages use it alike.
"""

from __future__ import annotations

import struct

_OFFSET = 4
_LITTLE_ENDIAN = 1


def read_stamp(data: bytes | bytearray) -> int:
    """Return the header's stamp in nanoseconds."""
    seconds, nanoseconds = struct.unpack_from(_format(data), data, _OFFSET)
    return int(seconds) * 10**9 + int(nanoseconds)


def write_stamp(data: bytearray, stamp: int) -> None:
    """Set the header's stamp, in nanoseconds."""
    struct.pack_into(_format(data), data, _OFFSET, stamp // 10**9, stamp % 10**9)


def _format(data: bytes | bytearray) -> str:
    return '<iI' if data[1] & _LITTLE_ENDIAN else '>iI'
