"""Decompression that stops at a limit: a kilobyte may stand for a hundred gigabytes."""

from __future__ import annotations

import bz2
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import lz4.frame
from rosbags.rosbag1 import reader as rosbag1
from rosbags.rosbag2 import storage_mcap

from lemore_core.common.limits import MAX_MESSAGE_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KINDS: dict[str, Callable[[], Any]] = {
    'zstd': zstd.ZstdDecompressor,
    'lz4': lz4.frame.LZ4FrameDecompressor,
    'bz2': bz2.BZ2Decompressor,
}


def decompress(kind: str, data: bytes, most: int = MAX_MESSAGE_BYTES) -> bytes:
    """Return what ``data``, of zstd, lz4 or bz2, stand for.

    Raises:
        ValueError: they stand for more than ``most`` bytes, or break off.
        Exception: they are damaged; each library has its own.
    """
    most = min(most, MAX_MESSAGE_BYTES)
    parts, size = [], 0
    while data:
        decompressor = KINDS[kind]()
        parts.append(decompressor.decompress(data, max_length=most - size + 1))
        size += len(parts[-1])
        if size > most:
            msg = f'{kind} data stand for more than {most} bytes'
            raise ValueError(msg)
        if not decompressor.eof:
            msg = f'{kind} data break off'
            raise ValueError(msg)
        data = decompressor.unused_data
    return b''.join(parts)


@lru_cache(1)
def bound_rosbags() -> None:
    """Have rosbags decompress chunks so; its own functions have no limit."""
    for kind in KINDS.keys() & storage_mcap.DECOMPRESSORS.keys():
        storage_mcap.DECOMPRESSORS[kind] = _sized(kind)
    for kind in KINDS.keys() & rosbag1.decompressors.keys():
        rosbag1.decompressors[kind] = _unsized(kind)


def _sized(kind: str) -> Callable[[bytes, int], bytes]:
    return lambda data, size: decompress(kind, data, size)


def _unsized(kind: str) -> Callable[[bytes], bytes]:
    return lambda data: decompress(kind, data)
