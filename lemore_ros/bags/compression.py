"""Decompression with an output limit, and fast compression of mcap chunks.

The limit is for untrusted files: a kilobyte may expand to a hundred gigabytes.
"""

from __future__ import annotations

import bz2
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lz4.frame

from lemore_core.common.errors import in_one_line, refusing, shown
from lemore_core.common.limits import MAX_MESSAGE_BYTES
from lemore_core.common.memory import usable_processors
from lemore_ros.bags.errors import BagError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    # the package that rosbags uses
    from backports import zstd

# no CDR message begins with these bytes
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
JOB_BYTES, MOST_THREADS = 2**20, 4
DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    'zstd': zstd.ZstdDecompressor,
    'lz4': lz4.frame.LZ4FrameDecompressor,
    'bz2': bz2.BZ2Decompressor,
}


def decompress(kind: str, data: bytes, most: int = MAX_MESSAGE_BYTES) -> bytes:
    """Decompress zstd, lz4 or bz2 data to at most ``most`` bytes."""
    most = min(most, MAX_MESSAGE_BYTES)
    parts, size = [], 0
    if kind not in DECOMPRESSORS:
        msg = f'compression {shown(kind)} is not read, allowed: {", ".join(DECOMPRESSORS)}'
        raise BagError(msg)
    while data:
        decompressor = DECOMPRESSORS[kind]()
        with refusing(f'{kind} data are damaged', BagError):
            parts.append(decompressor.decompress(data, max_length=most - size + 1))
        size += len(parts[-1])
        if size > most or not decompressor.eof:
            problem = f'expand to more than {most} bytes' if size > most else 'are truncated'
            msg = f'{kind} data {problem}'
            raise BagError(msg)
        data = decompressor.unused_data
    return b''.join(parts)


def decompress_file(source: Path, target: Path) -> None:
    """Decompress a zstd file."""
    with zstd.open(source, 'rb') as packed, target.open('wb') as file:
        try:
            shutil.copyfileobj(packed, file)
        except (EOFError, zstd.ZstdError) as error:
            raise BagError(in_one_line(error)) from error


def chunk_compressor() -> Callable[[bytes], bytes]:
    """Return a zstd compressor whose output does not depend on its number of threads."""
    # at rosbags' level, on one thread, writing raw images takes longer than segmenting them
    parameters: dict[int, int] = {
        zstd.CompressionParameter.compression_level: 1,
        zstd.CompressionParameter.nb_workers: min(MOST_THREADS, len(usable_processors())),
        zstd.CompressionParameter.job_size: JOB_BYTES,
    }
    # reused: creating its threads and tables takes as long as compressing a chunk
    compressor = zstd.ZstdCompressor(options=parameters)
    return lambda chunk: compressor.compress(chunk, compressor.FLUSH_FRAME)
