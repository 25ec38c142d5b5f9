"""Writes one file of a result, which is seen under its name when it is whole."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter

from lemore_core.common.yaml_file import read_yaml
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.message_types import MessageTypes
from lemore_ros.bags.io.metadata import INFORMATION, METADATA
from lemore_ros.bags.io.topics import Topic
from lemore_ros.bags.roles import CameraTopic
from lemore_ros.bags.segmentation.messages import output_qos, output_types
from lemore_ros.bags.segmentation.options import SegmentOptions
from lemore_ros.bags.segmentation.stages import OutMessage
from lemore_ros.outputs import OUTPUTS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    # what rosbags itself uses
    from backports import zstd

VERSION = 9
JOB_BYTES = 2**20
# what is written for types that nobody defines; a reader takes it as unknown
NO_DIGEST = f'RIHS01_{"0" * 64}'


class BagWriter:
    """Recorded topics and results as connections of one file."""

    def __init__(
        self,
        writer: Writer,
        topics: Iterable[Topic],
        cameras: Iterable[CameraTopic],
        types: MessageTypes,
        options: SegmentOptions,
    ) -> None:
        self.is_new = True
        self._writer = writer
        recorded = {
            (topic.name, topic.type): _add_recorded(writer, topic, types) for topic in topics
        }
        self._results = {
            (camera.prefix, output): writer.add_connection(
                f'{camera.prefix}/{output}',
                OUTPUTS[output].type,
                typestore=output_types(),
                offered_qos_profiles=[output_qos(OUTPUTS[output])],
            )
            for camera in cameras
            for output in options.outputs
        }
        self._connections = recorded | self._results

    def write(self, out: OutMessage) -> None:
        """Write a message at the time at which its record was received."""
        self._writer.write(self._connections[out.key], out.time_ns, out.data)

    def describe(self, messages: Mapping[str, memoryview], time_ns: int) -> None:
        """Write what every camera's labels mean; every file of a bag says it once."""
        self.is_new = False
        for (_, output), connection in self._results.items():
            if output in messages:
                self._writer.write(connection, time_ns, messages[output])


@contextmanager
def new_file(folder: Path, name: str, options: SegmentOptions, *, threads: int) -> Iterator[Writer]:
    """Yield the writer of a file called ``name`` in ``folder``; nothing stays if the block raises.

    ``threads`` compress the chunks of an mcap file.

    Raises:
        BagError: the disk is full; what is whole by then stays.
    """
    aside = _aside(folder, name)
    shutil.rmtree(aside, ignore_errors=True)
    plugin = StoragePlugin.MCAP if options.storage == 'mcap' else StoragePlugin.SQLITE3
    writer = Writer(aside / name, version=VERSION, storage_plugin=plugin)
    if options.compression != 'none':
        # SQLite files have no compression of their own
        is_mcap = plugin is StoragePlugin.MCAP
        mode = CompressionMode.STORAGE if is_mcap else CompressionMode.MESSAGE
        writer.set_compression(mode, CompressionFormat.ZSTD)
    try:
        with naming_a_full_disk(folder), writer:
            if isinstance(writer.storage, McapWriter) and options.compression != 'none':
                writer.storage.compressor = compressor(threads)
            yield writer
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def compressor(threads: int) -> Callable[[bytes], bytes]:
    """Return a compressor of chunks that is several times as fast as rosbags' own.

    Raw images are most of a bag: at zstd's usual level, on one thread, writing them would take
    longer than segmenting. The bytes do not depend on the number of threads.
    """
    parameters: dict[int, int] = {
        zstd.CompressionParameter.compression_level: 1,
        zstd.CompressionParameter.nb_workers: threads,
        zstd.CompressionParameter.job_size: JOB_BYTES,
    }
    # kept for all chunks: its threads and tables take as long to make as a chunk to compress
    kept = zstd.ZstdCompressor(options=parameters)
    return lambda chunk: kept.compress(chunk, kept.FLUSH_FRAME)


def take_whole(folder: Path, name: str) -> dict[str, Any] | None:
    """Give a file that was written by :func:`new_file` its place in ``folder``, for good.

    Returns what the bag's metadata say of it; None for one without messages, which does not stay.
    """
    aside = _aside(folder, name)
    about = read_yaml(aside / name / METADATA, 'the metadata', BagError)[INFORMATION]
    if about['message_count']:
        with naming_a_full_disk(folder):
            (source,) = (path for path in (aside / name).iterdir() if path.suffix != '.yaml')
            synchronise(source)
            source.replace(folder / source.name)
            synchronise(folder)
    shutil.rmtree(aside, ignore_errors=True)
    return about if about['message_count'] else None


def synchronise(path: Path) -> None:
    """Wait until a file or folder is on the disk: a power cut must not undo what is announced."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def naming_a_full_disk(folder: Path) -> Iterator[None]:
    """Raise a full disk as what it is.

    Raises:
        BagError: there is no space left.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        is_full = getattr(error, 'errno', None) in {errno.ENOSPC, errno.EDQUOT}
        if not is_full and 'disk is full' not in str(error):
            raise
        msg = (
            f'no space is left for {folder}: {error}. What is finished is kept: '
            'make room and run the same command with --resume'
        )
        raise BagError(msg) from error


def _aside(folder: Path, name: str) -> Path:
    # of machines that share the folder, several may have a process of one number
    return folder / f'{name}.writing-{socket.gethostname()}-{os.getpid()}'


def _add_recorded(writer: Writer, topic: Topic, types: MessageTypes) -> Connection:
    """Add a topic with the bag's own definition, a distribution's, or none where nobody has one."""
    try:
        store = types.store(topic)
    except BagError:
        store = None
    qos = list(topic.qos)
    if store is not None and topic.definition.format is MessageDefinitionFormat.NONE:
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
