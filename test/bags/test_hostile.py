"""Bags that somebody prepared: each costs what is wrong with it, and the rest is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from rosbags.rosbag2.writer import zstd
from rosbags.typesys import Stores, get_typestore

from lemore_ros.bags import compression
from lemore_ros.bags.compression import decompress
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.reader import open_bag
from lemore_ros.bags.types import MessageTypes, Topic
from test.bags.conftest import BagFolder, damaged, drive, execute, only_file
from test.hostile_yaml import ALIASES

LIMIT = 200_000
BOMB = zstd.compress(bytes(10 * LIMIT))


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, 'MAX_MESSAGE_BYTES', LIMIT)


@pytest.mark.usefixtures('limit')
def test_a_compressed_message_that_is_a_bomb_is_lost_alone(bags: BagFolder) -> None:
    path = bags.write(drive(4), storage=StoragePlugin.SQLITE3, compression=CompressionMode.MESSAGE)
    execute(path, 'UPDATE messages SET data = ? WHERE id = 1', BOMB)
    found, errors, lost = damaged(path)
    assert (len(found), lost) == (len(drive(4)) - 1, 1)
    assert f'zstd data expand to more than {LIMIT} bytes' in errors


@pytest.mark.usefixtures('limit')
def test_a_chunk_that_is_a_bomb_is_named(bags: BagFolder) -> None:
    path = bags.write(drive(60), compression=CompressionMode.STORAGE)
    found, errors, _ = damaged(path)
    assert not found
    assert 'zstd data expand to more than' in errors


@pytest.mark.parametrize('kind', ['zstd', 'lz4', 'bz2'])
@pytest.mark.usefixtures('limit')
def test_decompression_has_an_end(kind: str) -> None:
    modules = {'zstd': zstd, 'lz4': compression.lz4.frame, 'bz2': compression.bz2}
    compress = modules[kind].compress
    packed = compress(b'drive' * 1000)
    assert decompress(kind, packed) == b'drive' * 1000
    assert decompress(kind, packed + packed) == b'drive' * 2000
    assert decompress(kind, packed, 5000) == b'drive' * 1000
    for reason, *given in (
        ('more than 4999 bytes', packed, 4999),
        ('are truncated', packed[:-6]),
        (f'more than {LIMIT} bytes', compress(bytes(LIMIT + 1))),
    ):
        with pytest.raises(BagError, match=reason):
            decompress(kind, *given)


@pytest.mark.parametrize(
    'text',
    [
        ALIASES,
        '[1, 2]',
        'rosbag2_bagfile_information: 7',
        'rosbag2_bagfile_information: {message_count: .inf}',
        *(
            f'rosbag2_bagfile_information: {{relative_file_paths: {paths}}}'
            for paths in ('7', 'drive.mcap', '[7]', '{a: 1}', '[[drive.mcap]]', '[null]')
        ),
    ],
)
def test_metadata_that_are_none_leave_the_files(bags: BagFolder, text: str) -> None:
    path = bags.write(drive(2))
    (path / 'metadata.yaml').write_text(text)
    with open_bag(path) as bag:
        assert len(list(bag.messages())) == len(drive(2))
        assert [len(topic.qos) for topic in bag.topics] == [1, 1]
        assert 'metadata.yaml is damaged' in str(bag.errors) or 'is missing' in str(bag.errors)


def test_paths_stay_in_the_folder(bags: BagFolder, tmp_path: Path) -> None:
    path = bags.write(drive(2))
    (tmp_path / 'secret.mcap').write_bytes(b'of others')
    about = yaml.safe_load((path / 'metadata.yaml').read_text())
    about['rosbag2_bagfile_information']['relative_file_paths'] = ['../secret.mcap']
    (path / 'metadata.yaml').write_text(yaml.safe_dump(about))
    assert damaged(path)[:2] == (drive(2), 'secret.mcap is missing')


def test_a_flipped_byte_in_a_schema_costs_its_topic(bags: BagFolder) -> None:
    path = bags.write(drive(3))
    file = only_file(path)
    content = file.read_bytes()
    assert content.count(b'string data') >= 1
    file.write_bytes(content.replace(b'string data', b'str\xffng data'))
    with open_bag(path) as bag:
        assert len(list(bag.frames(bag.topic('/camera/image_raw')))) == 3
        notes = list(bag.messages([bag.topic('/notes')]))
        assert len(notes) == 6
        with pytest.raises(BagError, match='the definition of std_msgs/msg/String in the bag'):
            _ = notes[0].message


@pytest.mark.parametrize(
    'text',
    ['', 'string', 'x' * 5000, 'other_msgs/Unknown data', 'uint8[9999999999999] data', '[' * 999],
)
def test_a_definition_that_is_none_is_named(text: str) -> None:
    definition = MessageDefinition(MessageDefinitionFormat.MSG, text)
    topic = Topic('/a', 'a_msgs/msg/A', 1, definition)
    with pytest.raises(BagError, match='a_msgs/msg/A'):
        MessageTypes().deserialize(topic, b'\0\1\0\0')


def test_ros_1_types_that_nobody_knows_cost_their_topic(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    path = tmp_path / 'drive.bag'
    with Writer1(path) as writer:
        good = writer.add_connection('/good', 'std_msgs/msg/String', typestore=store)
        bad = writer.add_connection(
            '/bad', 'a_msgs/msg/A', msgdef='other_msgs/Unknown data\n', md5sum='0' * 32
        )
        message = store.types['std_msgs/msg/String']('hello')
        writer.write(good, 1, store.serialize_ros1(message, 'std_msgs/msg/String'))
        writer.write(bad, 2, b'\0\0')
    with open_bag(path) as bag:
        assert [topic.name for topic in bag.topics] == ['/good']
        assert [record.message.data for record in bag.messages()] == ['hello']
        assert '/bad: the definition of a_msgs/msg/A cannot be parsed' in str(bag.errors)
