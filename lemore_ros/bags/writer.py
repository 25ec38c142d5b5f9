"""Write rosbag2 files that appear under their names only when complete."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter

from lemore_core.common.files import write_whole
from lemore_core.common.yaml_file import read_yaml
from lemore_ros.bags.compression import chunk_compressor
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.messages import output_qos, output_types
from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.reader import INFORMATION, METADATA
from lemore_ros.bags.types import NONE, MessageTypes, Topic
from lemore_ros.outputs import OUTPUTS

VERSION = 9
# the digest of types without a definition; readers take it as unknown
NO_DIGEST = f'RIHS01_{"0" * 64}'


def add_connections(
    writer: Writer,
    topics: Iterable[Topic],
    types: MessageTypes,
    prefixes: Iterable[str],
    outputs: Sequence[str],
) -> dict[tuple[str, str], Connection]:
    """Add recorded topics, by name and type, and results, by a camera's prefix and output."""
    connections = {(t.name, t.type): _add_recorded(writer, t, types) for t in topics}
    for prefix in prefixes:
        for output in outputs:
            connections[prefix, output] = writer.add_connection(
                f'{prefix}/{output}',
                OUTPUTS[output].type,
                typestore=output_types(),
                offered_qos_profiles=[output_qos(OUTPUTS[output])],
            )
    return connections


@contextmanager
def new_part(part: Path, options: SegmentOptions) -> Iterator[Writer]:
    """Yield the writer of a new one-file bag, which appears at ``part`` when complete.

    Files added to ``writer.path`` become part of it.
    """
    # machines that share the folder may have processes of the same number
    temporary = part.with_name(f'{part.name}.writing-{socket.gethostname()}-{os.getpid()}')
    shutil.rmtree(temporary, ignore_errors=True)
    is_mcap, is_compressed = options.storage == 'mcap', options.compression != 'none'
    plugin = StoragePlugin.MCAP if is_mcap else StoragePlugin.SQLITE3
    writer = Writer(temporary / part.name, version=VERSION, storage_plugin=plugin)
    if is_compressed:
        # SQLite files have no compression of their own
        mode = CompressionMode.STORAGE if is_mcap else CompressionMode.MESSAGE
        writer.set_compression(mode, CompressionFormat.ZSTD)
    try:
        with report_disk_full(part.parent):
            with writer:
                if isinstance(writer.storage, McapWriter) and is_compressed:
                    writer.storage.compressor = chunk_compressor()
                yield writer
            for path in (*writer.path.iterdir(), writer.path):
                synchronize(path)
            writer.path.rename(part)
            synchronize(part.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def join_parts(parts: Sequence[Path], folder: Path) -> bool:
    """Move the files of one-file bags into a bag ``folder``; return whether it has messages.

    May be repeated after an interruption.
    """
    folder.mkdir(exist_ok=True)
    infos = []
    for part in parts:
        info = read_yaml(part / METADATA, 'the metadata', BagError)[INFORMATION]
        (name,) = info['relative_file_paths']
        if info['message_count']:
            infos.append(info)
            if (part / name).exists():
                (part / name).replace(folder / name)
    if infos:
        about = yaml.safe_dump({INFORMATION: _merge(infos)}, sort_keys=False)
        write_whole(folder / METADATA, about)
        synchronize(folder)
    return bool(infos)


def synchronize(path: Path) -> None:
    """Wait until a file or folder is on the disk, safe from a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def report_disk_full(folder: Path) -> Iterator[None]:
    """Raise a full disk as a BagError with the remedy."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        is_full = getattr(error, 'errno', None) in {errno.ENOSPC, errno.EDQUOT}
        if not is_full and 'disk is full' not in str(error):
            raise
        msg = (
            f'no space is left for {folder}: {error}. Complete files are kept: '
            'make room and run the same command with --resume'
        )
        raise BagError(msg) from error


def _merge(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge the metadata of one-file bags of the same topics."""
    files = [file for info in infos for file in info['files']]
    starts = [file['starting_time']['nanoseconds_since_epoch'] for file in files]
    ends = [s + f['duration']['nanoseconds'] for s, f in zip(starts, files, strict=True)]
    topics, counts = 'topics_with_message_count', Counter[int]()
    for info in infos:
        counts.update({i: topic['message_count'] for i, topic in enumerate(info[topics])})
    return {
        **infos[0],
        'relative_file_paths': [file['path'] for file in files],
        'duration': {'nanoseconds': max(ends) - min(starts)},
        'starting_time': {'nanoseconds_since_epoch': min(starts)},
        'message_count': counts.total(),
        topics: [{**t, 'message_count': counts[i]} for i, t in enumerate(infos[0][topics])],
        'files': files,
    }


def _add_recorded(writer: Writer, topic: Topic, types: MessageTypes) -> Connection:
    """Add a topic with the definition of the bag or a distribution, or none."""
    qos = list(topic.qos)
    try:
        store = types.store(topic)
        if topic.definition.format is NONE:
            return writer.add_connection(
                topic.name, topic.type, typestore=store, offered_qos_profiles=qos
            )
        digest = store.hash_rihs01(topic.type)
    except BagError:
        digest = NO_DIGEST
    return writer.add_connection(
        topic.name,
        topic.type,
        msgdef=topic.definition.data,
        rihs01=digest,
        offered_qos_profiles=qos,
    )
