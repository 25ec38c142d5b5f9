"""Files of mcap's own writer: damaged chunks, and messages of other encodings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import CompressionType, Writer
from rosbags.typesys import Stores, get_typestore

from lemore_core.images.image import Image
from lemore_ros.bags.cli.info import inspect
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.reader import open_bag
from lemore_ros.bags.topics import find_cameras
from test.bags.conftest import IMAGE, PERIOD, START, STORE, image, read

ROS1 = get_typestore(Stores.ROS1_NOETIC)
COUNT, CHUNK_BYTES = 12, 30_000  # three images a chunk


def write(
    path: Path, schema: tuple[str, str, str], encoding: str, messages: Sequence[bytes]
) -> Path:
    """Write messages of a topic; the schema and the topic are defined in the first chunk."""
    with path.open('wb') as file:
        writer = Writer(file, CHUNK_BYTES, CompressionType.NONE)
        writer.start()
        name, kind, text = schema
        number = writer.register_channel(
            '/cam', encoding, writer.register_schema(name, kind, text.encode())
        )
        for i, data in enumerate(messages):
            writer.add_message(number, START + i * PERIOD, data, START + i * PERIOD)
        writer.finish()
    return path


def images() -> list[bytes]:
    return [image(i, START + i * PERIOD) for i in range(COUNT)]


def schema(name: str = IMAGE) -> tuple[str, str, str]:
    return name, 'ros2msg', STORE.generate_msgdef(IMAGE, ros_version=2)[0]


@pytest.mark.parametrize(
    ('place', 'lost', 'changed', 'reason'),
    [
        (200, 0, 1, 'its checksum does not match, the messages are read as they are'),
        (-1, 1, 1, 'its record at byte'),  # the opcode
        (0, 3, 4, 'its record at byte'),  # the length
    ],
)
@pytest.mark.parametrize('has_checksum', [True, False])
def test_one_wrong_bit_costs_its_chunk_at_most(
    tmp_path: Path, place: int, lost: int, changed: int, reason: str, *, has_checksum: bool
) -> None:
    path = write(tmp_path / 'drive.mcap', schema(), 'cdr', images())
    with open_bag(path) as bag:
        whole = read(bag)
    content = bytearray(path.read_bytes())
    length = (len(images()[0]) + 22).to_bytes(8, 'little')
    content[content.index(length) + place] ^= 32
    if not has_checksum:
        head = 8 + 9 + int.from_bytes(content[9:17], 'little')
        content[head + 9 + 24 : head + 9 + 28] = bytes(4)
    path.write_bytes(content)
    with open_bag(path) as bag:
        found = read(bag)
        assert len(found) == COUNT - lost
        assert len(set(whole) - set(found)) == changed
        assert bag.errors.messages == lost
        assert (reason in str(bag.errors)) == (has_checksum or lost > 0)


def test_ros_1_messages_and_short_names_of_types_are_read(tmp_path: Path) -> None:
    stamp = ROS1.types['builtin_interfaces/msg/Time'](1, 2)
    own = ROS1.types['std_msgs/msg/Header'](7, stamp, 'cam')
    grey = ROS1.types[IMAGE](own, 4, 4, 'mono8', 0, 4, np.zeros(16, np.uint8))
    text, _ = ROS1.generate_msgdef(IMAGE, ros_version=1)
    data = bytes(ROS1.serialize_ros1(grey, IMAGE))
    short = 'sensor_msgs/Image'
    for path in (
        write(tmp_path / 'ros1.mcap', (short, 'ros1msg', text), 'ros1', [data]),
        write(tmp_path / 'short.mcap', schema(short), 'cdr', images()[:1]),
    ):
        with open_bag(path) as bag:
            (topic,) = bag.image_topics
            ((_, found),) = bag.frames(topic)
            assert isinstance(found, Image)


def test_what_is_wrong_with_a_chunk_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / 'drive.mcap'
    with path.open('wb') as file:
        writer = Writer(file, CHUNK_BYTES, CompressionType.ZSTD)
        writer.start()
        number = writer.register_channel('/cam', 'cdr', writer.register_schema(IMAGE, '', b''))
        for i, data in enumerate(images()):
            writer.add_message(number, START + i * PERIOD, data, START + i * PERIOD)
    whole = path.read_bytes()
    with open_bag(path) as bag:
        assert str(bag.errors).endswith(': its end is missing, it was not finished')
    path.write_bytes(b'snap'.join(whole.rsplit(b'zstd', 1)))
    with open_bag(path) as bag:
        assert "compression 'snap' is not read, allowed: zstd, lz4, bz2" in str(bag.errors)


@pytest.mark.parametrize('kind', ['protobuf', 'json'])
def test_messages_of_other_encodings_are_named(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / 'drive.mcap', ('foxglove.RawImage', kind, ''), kind, [b'{}'])
    named = f'/cam (foxglove.RawImage as {kind}: only messages of ROS are read)'
    with open_bag(path) as bag:
        values: dict[str, Any] = inspect(bag)
        assert values['notes'] == [named]
        assert bag.copied_topics == ()
        with pytest.raises(BagError, match='has no camera: it has /cam') as caught:
            find_cameras(bag)
        assert named in str(caught.value)
