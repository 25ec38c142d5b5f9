"""Write rosbag2 files that appear under their names only when complete."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter
from rosbags.typesys import get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from lemore_core.common.files import write_whole
from lemore_core.common.yaml_file import dump_yaml, read_yaml
from lemore_core.taxonomy import Labels, Taxonomy
from lemore_ros.bags.compression import chunk_compressor
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.reader import INFORMATION, METADATA
from lemore_ros.bags.types import ASSUMED, DISTRIBUTIONS, HEADER, NONE, TIME, MessageTypes, Topic
from lemore_ros.messages.images import image_fields
from lemore_ros.messages.rendering import classes_json
from lemore_ros.outputs import OUTPUTS

VERSION = 9
# the digest of types without a definition; readers take it as unknown
NO_DIGEST = f'RIHS01_{"0" * 64}'
VISION_CLASS = 'vision_msgs/msg/VisionClass'
# as in vision_msgs 4, a package that rosbags does not have
DEFINITIONS = {
    VISION_CLASS: 'uint16 class_id\nstring class_name\n',
    OUTPUTS['label_info'].type: (
        'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n'
    ),
}
FOREVER = QosTime(2**31 - 1, 2**32 - 1)
# the live node's profiles
RELIABLE = Qos(
    *(QosHistory.KEEP_LAST, 5, QosReliability.RELIABLE, QosDurability.VOLATILE),
    *(FOREVER, FOREVER, QosLiveliness.AUTOMATIC, FOREVER),
    avoid_ros_namespace_conventions=False,
)
LATCHED = RELIABLE._replace(depth=1, durability=QosDurability.TRANSIENT_LOCAL)
Key = tuple[str, str]  # name and type of a recorded topic, or prefix and output of a result


@cache
def output_types() -> Typestore:
    """Return the types of all messages that are written."""
    store = get_typestore(DISTRIBUTIONS[ASSUMED])
    for name, text in DEFINITIONS.items():
        store.register(get_types_from_msg(text, name))
    return store


def make_message(kind: str, header: Any, fields: Mapping[str, Any]) -> Any:
    """Return a rosbags message, as :func:`lemore_ros.messages.rendering.ros_message` does of ROS."""
    types, stamp = output_types().types, header.stamp
    own = types[HEADER](types[TIME](stamp.sec, stamp.nanosec), header.frame_id)
    return types[kind](header=own, **fields)


def serialize(message: Any, kind: str) -> memoryview:
    """Serialise a message to little-endian CDR."""
    data: memoryview = output_types().serialize_cdr(message, kind, little_endian=True)
    return data


def label_message(labels: Labels, time_ns: int) -> memoryview:
    """Return the serialised message of labels (H, W) uint8 with a stamp."""
    kind = OUTPUTS['labels'].type
    fields = image_fields(labels, 'mono8')
    return serialize(make_message(kind, _header(time_ns), fields), kind)


def class_messages(taxonomy: Taxonomy, threshold: float, time_ns: int) -> dict[str, memoryview]:
    """Return the serialised messages that describe the classes, by output."""
    types = output_types().types
    text, info = OUTPUTS['classes'].type, OUTPUTS['label_info'].type
    classes = [types[VISION_CLASS](i, name) for i, name in enumerate(taxonomy.classes)]
    header = _header(time_ns)
    return {
        'classes': serialize(types[text](classes_json(taxonomy)), text),
        'label_info': serialize(types[info](header, classes, threshold), info),
    }


def _header(time_ns: int) -> Any:
    """Return a header, of the nearest second that a stamp can hold: receive times go further."""
    types, (seconds, rest) = output_types().types, divmod(time_ns, 10**9)
    return types[HEADER](types[TIME](min(max(seconds, -(2**31)), 2**31 - 1), rest), '')


def add_connections(
    writer: Writer, topics: Iterable[Topic], types: MessageTypes, results: Iterable[Key]
) -> dict[Key, Connection]:
    """Add recorded topics and results."""
    connections = {(t.name, t.type): _add_recorded(writer, t, types) for t in topics}
    for prefix, name in results:
        kind, qos = OUTPUTS[name].type, LATCHED if OUTPUTS[name].is_latched else RELIABLE
        connections[prefix, name] = writer.add_connection(
            f'{prefix}/{name}', kind, typestore=output_types(), offered_qos_profiles=[qos]
        )
    return connections


@contextmanager
def new_part(part: Path, options: SegmentOptions) -> Iterator[Writer]:
    """Yield the writer of a new one-file bag, which appears at ``part`` when complete."""
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
    """Move the files of one-file bags into a bag ``folder``; return whether it has messages."""
    # may be repeated after an interruption
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
        write_whole(folder / METADATA, dump_yaml({INFORMATION: _merge(infos)}))
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
def report_disk_full(output: Path) -> Iterator[None]:
    """Raise a full disk as a BagError with the remedy."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        is_full = getattr(error, 'errno', None) in {errno.ENOSPC, errno.EDQUOT}
        if 'unable to open' in str(error):
            msg = f'{output} cannot be written as sqlite3: {error}: write mcap, or a shorter path'
            raise BagError(msg) from error
        if not is_full and 'disk is full' not in str(error):
            raise
        remedy = 'Complete files are kept: make room and run the same command with --resume'
        msg = f'no space is left for {output}: {error}. {remedy}'
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
    known: dict[str, Any] = {'msgdef': topic.definition.data, 'rihs01': NO_DIGEST}
    # a definition may be damaged, or refer to types that it lacks
    with suppress(BagError, KeyError):
        store = types.store(topic)
        if topic.definition.format is NONE:
            known = {'typestore': store}
        else:
            known['rihs01'] = store.hash_rihs01(topic.type)
    return writer.add_connection(
        topic.name, topic.type, offered_qos_profiles=list(topic.qos), **known
    )
