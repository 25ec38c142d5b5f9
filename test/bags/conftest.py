"""Small bags of every kind, and a network that loads quickly."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('rosbags', reason='rosbags is not installed')

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from lemore_ros.bags.options import NODE, SegmentOptions
from lemore_ros.bags.parts import BagSegmentation
from lemore_ros.bags.reader import Bag, open_bag
from lemore_ros.bags.segment import PartResult
from lemore_ros.outputs import COMPRESSED_VIDEO, FFMPEG_PACKET
from test.message_definitions import DEFINITIONS

ROOT = Path(__file__).parents[2]
STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = STORE.types
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
STRING = 'std_msgs/msg/String'
START = 1_700_000_000 * 10**9
PERIOD = 10**8
QOS = Qos(
    *(QosHistory.KEEP_LAST, 7, QosReliability.BEST_EFFORT, QosDurability.VOLATILE),
    *(QosTime(0, 0), QosTime(0, 0), QosLiveliness.AUTOMATIC, QosTime(0, 0)),
    avoid_ros_namespace_conventions=False,
)
Message = tuple[str, str, int, bytes]
for kind in (FFMPEG_PACKET, COMPRESSED_VIDEO):
    package, _, name = kind.split('/')
    STORE.register(get_types_from_msg(DEFINITIONS[package][name], kind))


def header(stamp: int) -> Any:
    time = TYPES['builtin_interfaces/msg/Time'](stamp // 10**9, stamp % 10**9)
    return TYPES['std_msgs/msg/Header'](time, 'cam')


def pattern(index: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """An image of blocks, another one for every index."""
    blocks = np.random.default_rng(index).integers(0, 256, (6, 8, 3), np.uint8)
    if 0 in size:
        return np.zeros((*size, 3), np.uint8)
    return cv2.resize(blocks, size[::-1], interpolation=cv2.INTER_NEAREST)


def image(
    index: int,
    stamp: int,
    *,
    size: tuple[int, int] = (48, 64),
    encoding: str = 'bgr8',
    pixels: np.ndarray | None = None,
) -> bytes:
    rows = np.ascontiguousarray(pattern(index, size) if pixels is None else pixels)
    data = rows.reshape(-1).view(np.uint8)
    step = 3 * size[1] * rows.itemsize
    message = TYPES[IMAGE](header(stamp), *size, encoding, 0, step, data)
    return bytes(STORE.serialize_cdr(message, IMAGE))


def jpeg(index: int, stamp: int) -> bytes:
    _, data = cv2.imencode('.jpg', pattern(index))
    return bytes(STORE.serialize_cdr(TYPES[COMPRESSED](header(stamp), 'jpeg', data), COMPRESSED))


def packet(data: bytes, stamp: int, encoding: str = 'libx264;yuv420p;bgr8') -> bytes:
    message = TYPES[FFMPEG_PACKET](
        header(stamp), 64, 48, encoding, 0, 0, False, np.frombuffer(data, np.uint8)
    )
    return bytes(STORE.serialize_cdr(message, FFMPEG_PACKET))


def foxglove_video(data: bytes, stamp: int) -> bytes:
    message = TYPES[COMPRESSED_VIDEO](
        header(stamp).stamp, 'cam', np.frombuffer(data, np.uint8), 'h265'
    )
    return bytes(STORE.serialize_cdr(message, COMPRESSED_VIDEO))


def text(content: str) -> bytes:
    return bytes(STORE.serialize_cdr(TYPES[STRING](content), STRING))


def drive(count: int, topic: str = '/camera/image_raw') -> list[Message]:
    """A camera at 10 Hz, and two messages of another topic after each image."""
    messages: list[Message] = []
    for index in range(count):
        time = START + index * PERIOD
        messages.append((topic, IMAGE, time, image(index, time - 12345)))
        messages += [('/notes', STRING, time + i, text(f'{index} {i}')) for i in (1000, 2000)]
    return messages


@dataclass(frozen=True)
class BagFolder:
    """Writes bags into a folder."""

    folder: Path
    names: list[str] = field(default_factory=list)

    def write(
        self,
        messages: Sequence[Message],
        name: str = 'drive',
        *,
        storage: StoragePlugin = StoragePlugin.MCAP,
        compression: CompressionMode = CompressionMode.NONE,
        empty: Sequence[tuple[str, str]] = (),
    ) -> Path:
        """Write a bag; ``empty`` are names and types of topics that need no message."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        writer = Writer(path, version=9, storage_plugin=storage)
        writer.set_compression(compression, CompressionFormat.ZSTD)
        with writer:
            connections = {
                key: writer.add_connection(*key, typestore=STORE, offered_qos_profiles=[QOS])
                for key in dict.fromkeys([*empty, *(message[:2] for message in messages)])
            }
            for topic, kind, time, data in messages:
                writer.write(connections[topic, kind], time, data)
        return path


@pytest.fixture
def bags(tmp_path: Path) -> BagFolder:
    return BagFolder(tmp_path)


@pytest.fixture
def options(exported: Path) -> SegmentOptions:
    return SegmentOptions(str(exported), backend='onnxruntime', device='cpu')


@pytest.fixture
def command(
    exported: Path, start_python: Callable[..., subprocess.Popen[str]]
) -> Callable[..., subprocess.Popen[str]]:
    """Start ``lemore bag segment`` as a process of its own; it is gone after the test."""

    def start(*arguments: object, file_frames: int = 4) -> subprocess.Popen[str]:
        return start_python(
            *('-m', 'lemore_core.cli.main', 'bag', 'segment'),
            *('--model', str(exported), '--backend', 'onnxruntime', '--device', 'cpu'),
            *('--file-frames', str(file_frames)),
            *map(str, arguments),
        )

    return start


def segment(
    source: Path, output: Path, options: SegmentOptions, *, resume: bool = False
) -> PartResult:
    """Segment one bag in this process."""
    run = BagSegmentation([source], output, options, resume=resume)
    ((_, _, result),) = run.segment(lambda _: None)
    return result


def read(bag: Bag) -> list[Message]:
    return [(r.topic.name, r.topic.type, r.time_ns, r.data) for r in bag.messages()]


def contents(path: Path) -> list[Message]:
    """Every message of a bag."""
    with open_bag(path) as bag:
        return read(bag)


def damaged(path: Path) -> tuple[list[Message], str, int]:
    """Every message of a bag that can be read, what is wrong with it, and how many are known to be lost."""
    with open_bag(path) as bag:
        return read(bag), str(bag.errors), bag.errors.messages


def only_file(path: Path) -> Path:
    (file,) = (file for file in path.iterdir() if file.suffix != '.yaml')
    return file


def execute(path: Path, statement: str, *values: object) -> None:
    """Change a bag of one SQLite file."""
    with closing(sqlite3.connect(only_file(path))) as database, database:
        database.execute(statement, values)


def labels_of(path: Path, topic: str = f'{NODE}/labels') -> dict[int, np.ndarray]:
    """Label images by receive time."""
    with open_bag(path) as bag:
        frames = bag.frames(bag.topic(topic))
        return {record.time_ns: frame.pixels.copy() for record, frame in frames}


def files(path: Path) -> dict[str, bytes]:
    """Every file of a bag, by its name."""
    return {file.name: file.read_bytes() for file in path.iterdir()}
