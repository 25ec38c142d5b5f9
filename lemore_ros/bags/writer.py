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
from typing import Any, NamedTuple

import yaml
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter

from lemore_core.common.files import write_whole
from lemore_core.common.yaml_file import read_yaml
from lemore_ros.bags.compression import chunk_compressor
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.files import INFORMATION, METADATA
from lemore_ros.bags.messages import output_qos, output_types
from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.types import NONE, MessageTypes, Topic
from lemore_ros.outputs import OUTPUTS

VERSION = 9
# the digest of types without a definition; readers take it as unknown
NO_DIGEST = f'RIHS01_{"0" * 64}'


class OutMessage(NamedTuple):
    """A serialised message to write.

    ``key`` is a recorded topic's name and type, or a camera's prefix and an output's name.
    """

    key: tuple[str, str]
    time_ns: int
    data: bytes | memoryview


class BagWriter:
    """Recorded topics, and the results of each camera, as connections of one file."""

    def __init__(
        self,
        writer: Writer,
        topics: Iterable[Topic],
        types: MessageTypes,
        prefixes: Iterable[str],
        outputs: Iterable[str],
    ) -> None:
        self._writer = writer
        self.results = [(prefix, output) for prefix in prefixes for output in outputs]
        self._connections = {
            (topic.name, topic.type): _add_recorded(writer, topic, types) for topic in topics
        }
        for prefix, output in self.results:
            self._connections[prefix, output] = writer.add_connection(
                f'{prefix}/{output}',
                OUTPUTS[output].type,
                typestore=output_types(),
                offered_qos_profiles=[output_qos(OUTPUTS[output])],
            )

    def write(self, message: OutMessage) -> None:
        """Write a message."""
        self._writer.write(self._connections[message.key], message.time_ns, message.data)


@contextmanager
def new_part(folder: Path, name: str, options: SegmentOptions, threads: int) -> Iterator[Writer]:
    """Yield the writer of a new one-file bag ``folder/name``, which appears when complete.

    Files added to ``writer.path`` become part of it. ``threads`` compress the chunks of mcap.
    """
    # machines that share the folder may have processes of the same number
    temporary = folder / f'{name}.writing-{socket.gethostname()}-{os.getpid()}'
    shutil.rmtree(temporary, ignore_errors=True)
    plugin = StoragePlugin.MCAP if options.storage == 'mcap' else StoragePlugin.SQLITE3
    writer = Writer(temporary / name, version=VERSION, storage_plugin=plugin)
    is_compressed = options.compression != 'none'
    if is_compressed:
        # SQLite files have no compression of their own
        is_mcap = plugin is StoragePlugin.MCAP
        mode = CompressionMode.STORAGE if is_mcap else CompressionMode.MESSAGE
        writer.set_compression(mode, CompressionFormat.ZSTD)
    try:
        with report_disk_full(folder):
            with writer:
                if isinstance(writer.storage, McapWriter) and is_compressed:
                    writer.storage.compressor = chunk_compressor(threads)
                yield writer
            for path in (*writer.path.iterdir(), writer.path):
                synchronize(path)
            writer.path.rename(folder / name)
            synchronize(folder)
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
        about = yaml.safe_dump({INFORMATION: merge_metadata(infos)}, sort_keys=False)
        write_whole(folder / METADATA, about)
        synchronize(folder)
    return bool(infos)


def merge_metadata(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge the metadata of one-file bags."""
    start, since = 'starting_time', 'nanoseconds_since_epoch'
    starts = [info[start][since] for info in infos]
    ends = [s + info['duration']['nanoseconds'] for s, info in zip(starts, infos, strict=True)]
    topics = 'topics_with_message_count'

    def key(topic: dict[str, Any]) -> tuple[str, str]:
        return topic['topic_metadata']['name'], topic['topic_metadata']['type']

    counts = Counter[tuple[str, str]]()
    for info in infos:
        for topic in info[topics]:
            counts[key(topic)] += topic['message_count']
    return {
        **infos[0],
        'relative_file_paths': [path for info in infos for path in info['relative_file_paths']],
        'duration': {'nanoseconds': max(ends) - min(starts)},
        start: {since: min(starts)},
        'message_count': counts.total(),
        topics: [{**topic, 'message_count': counts[key(topic)]} for topic in infos[0][topics]],
        'files': [file for info in infos for file in info['files']],
    }


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


def _add_recorded(writer: Writer, topic: Topic, types: MessageTypes) -> Connection:
    """Add a topic with the definition of the bag or a distribution, or none."""
    try:
        store = types.store(topic)
    except BagError:
        store = None
    qos = list(topic.qos)
    if store is not None and topic.definition.format is NONE:
        return writer.add_connection(
            topic.name, topic.type, typestore=store, offered_qos_profiles=qos
        )
    digest = topic.digest or (store.hash_rihs01(topic.type) if store else NO_DIGEST)
    return writer.add_connection(
        topic.name,
        topic.type,
        msgdef=topic.definition.data,
        rihs01=digest,
        offered_qos_profiles=qos,
    )
