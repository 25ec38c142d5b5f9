"""Bags of every kind, whole and damaged."""

from __future__ import annotations

import json
import random
import re
import sqlite3
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.records import ChunkIndex
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_typestore

from lemore_core.cli.main import main
from lemore_core.images.image import Image
from lemore_core.taxonomy import load_taxonomy
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.parts import BagSegmentation, find_jobs
from lemore_ros.bags.reader import Bag, open_bag
from lemore_ros.messages.images import ImageError
from lemore_ros.messages.label_info import classes_json
from test.bags.conftest import (
    COMPRESSED,
    IMAGE,
    PERIOD,
    START,
    STRING,
    BagFolder,
    contents,
    drive,
    image,
    jpeg,
    pattern,
    text,
)

MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3
NONE, MESSAGE = CompressionMode.NONE, CompressionMode.MESSAGE
STORAGE, FILE = CompressionMode.STORAGE, CompressionMode.FILE


@pytest.mark.parametrize(
    ('storage', 'compression'),
    [(MCAP, NONE), (MCAP, STORAGE), (MCAP, FILE), (SQLITE, NONE), (SQLITE, MESSAGE)],
)
def test_every_storage_gives_the_same(bags: BagFolder, storage: Any, compression: Any) -> None:
    messages = drive(5)
    path = bags.write(messages, storage=storage, compression=compression)
    with open_bag(path) as bag:
        assert [(r.topic.name, r.topic.type, r.time_ns, r.data) for r in bag.messages()] == messages
        assert [(topic.name, topic.count) for topic in bag.topics] == [
            ('/camera/image_raw', 5),
            ('/notes', 10),
        ]
        assert (bag.start_ns, bag.end_ns) == (messages[0][2], messages[-1][2])
        assert (bag.damage, bag.unreadable) == ('', 0)


@pytest.mark.parametrize('storage', [MCAP, SQLITE])
def test_a_lone_file_is_a_bag(bags: BagFolder, storage: Any) -> None:
    path = bags.write(drive(3), storage=storage)
    (file,) = (file for file in path.iterdir() if file.suffix != '.yaml')
    assert contents(file) == drive(3)


def test_a_stretch_of_one_topic(bags: BagFolder) -> None:
    with open_bag(bags.write(drive(10))) as bag:
        (topic,) = bag.image_topics
        found = bag.messages([topic], start_ns=START + 2 * PERIOD, end_ns=START + 5 * PERIOD)
        assert [(record.time_ns - START) // PERIOD for record in found] == [2, 3, 4]


def test_frames_raw_compressed_and_broken(bags: BagFolder) -> None:
    messages = [
        ('/a', IMAGE, START, image(1, START)),
        ('/a', IMAGE, START + 1, image(1, START)[:50]),
        ('/a', IMAGE, START + 2, image(1, START, size=(0, 4))),
        ('/b', COMPRESSED, START + 3, jpeg(1, START)),
    ]
    with open_bag(bags.write(messages)) as bag:
        good, cut, empty = (decoded.image for decoded in bag.frames(bag.topic('/a')))
        ((_, compressed),) = bag.frames(bag.topic('/b'))
    assert isinstance(good, Image)
    np.testing.assert_array_equal(good.pixels, pattern(1))
    assert isinstance(cut, BagError)
    assert 'are no sensor_msgs/msg/Image' in str(cut)
    assert isinstance(empty, ImageError)
    assert isinstance(compressed, Image)
    assert compressed.pixels.shape == good.pixels.shape


def test_what_is_no_bag_is_named(tmp_path: Path) -> None:
    (tmp_path / 'notes.txt').write_text('hello')
    (tmp_path / 'empty.mcap').write_bytes(b'')
    (tmp_path / 'wrong.db3').write_bytes(b'x' * 5000)
    (tmp_path / 'old.bag').write_bytes(b'#ROSBAG V2.0\n')
    (tmp_path / 'folder').mkdir()
    for name, reason in {
        'none': 'there is no bag',
        'notes.txt': 'is no bag: give a rosbag2 folder',
        'empty.mcap': 'nothing of .* can be read: empty.mcap: nothing can be read after 0',
        'wrong.db3': 'not a database',
        'old.bag': 'can be read',
        'folder': 'nothing of .* can be read: metadata.yaml is missing',
    }.items():
        with pytest.raises(BagError, match=reason), open_bag(tmp_path / name):
            pass


@pytest.mark.parametrize('compression', [NONE, STORAGE])
def test_an_mcap_file_cut_anywhere_gives_what_is_before(bags: BagFolder, compression: Any) -> None:
    path = bags.write(drive(450), compression=compression)
    (file,) = path.glob('*.mcap')
    whole, messages = file.read_bytes(), drive(450)
    chunk = chunks_of(file)[0].chunk_length
    for end in random.Random(1).sample(range(1000 + chunk, len(whole) - 40), 6):
        file.write_bytes(whole[:end])
        with open_bag(path) as bag:
            found = read(bag)
            assert found == messages[: len(found)]
            assert bag.damage
            assert bag.unreadable == len(messages) - len(found)
            if compression is NONE:
                # the chunk that is cut is lost
                assert len(found) > len(messages) * (end - chunk) / len(whole) - 6


def chunks_of(file: Path) -> list[ChunkIndex]:
    with file.open('rb') as opened:
        summary = make_reader(opened).get_summary()
    assert summary
    return sorted(summary.chunk_indexes, key=lambda chunk: chunk.chunk_start_offset)


def read(bag: Bag) -> list[Any]:
    return [(r.topic.name, r.topic.type, r.time_ns, r.data) for r in bag.messages()]


def test_a_damaged_chunk_costs_its_own_messages(bags: BagFolder) -> None:
    path = bags.write(drive(450), compression=STORAGE)
    (file,) = path.glob('*.mcap')
    data = bytearray(file.read_bytes())
    _, chunk, *others = chunks_of(file)
    assert len(others) > 1
    middle = chunk.chunk_start_offset + chunk.chunk_length // 2
    data[middle : middle + 64] = bytes(64)
    file.write_bytes(data)
    with open_bag(path) as bag:
        found = read(bag)
        assert [m[2] for m in found] == sorted(m[2] for m in found)
        lost = Counter(drive(450)) - Counter(found)
        assert not Counter(found) - Counter(drive(450))
        assert 0 < lost.total() == bag.unreadable
        first, last = chunk.message_start_time, chunk.message_end_time
        assert all(first <= m[2] <= last for m in lost)
        assert 'the chunk at byte' in bag.damage


@pytest.mark.parametrize('split', [1, 2])
def test_messages_of_one_time_are_given_once_after_damage(bags: BagFolder, split: int) -> None:
    """The two readers order messages of one time differently: by chunk, and by channel."""
    messages = [
        (f'/t{i % 3}', STRING, START + i // 6, text(f'{i % 2}' * 2000)) for i in range(3000)
    ]
    path = bags.write(messages, compression=STORAGE)
    (file,) = path.glob('*.mcap')
    data = bytearray(file.read_bytes())
    chunk = chunks_of(file)[split]
    middle = chunk.chunk_start_offset + chunk.chunk_length // 2
    data[middle : middle + 64] = bytes(64)
    file.write_bytes(data)
    with open_bag(path) as bag:
        found = read(bag)
        assert bag.damage
    assert len(found) > 1000
    assert not Counter(found) - Counter(messages)
    lost = Counter(messages) - Counter(found)
    assert {m[2] for m in lost} <= set(range(chunk.message_start_time, chunk.message_end_time + 1))


def test_a_damaged_file_does_not_hide_the_next_one(bags: BagFolder) -> None:
    path = bags.write(drive(20), 'whole')
    (file,) = path.glob('*.mcap')
    cut = bags.folder / 'cut'
    cut.mkdir()
    (cut / 'cut_0.mcap').write_bytes(file.read_bytes()[:-2000])
    (cut / 'cut_1.mcap').write_bytes(file.read_bytes())
    with open_bag(cut) as bag:
        found = read(bag)
        assert found[-60:] == drive(20)
        assert 'cut_0.mcap' in bag.damage


def test_a_sqlite_file_that_is_cut_short(bags: BagFolder) -> None:
    path = bags.write(drive(250), storage=SQLITE)
    (file,) = path.glob('*.db3')
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3 // 4096 * 4096])
    with open_bag(path) as bag:
        found = [(r.topic.name, r.topic.type, r.time_ns, r.data) for r in bag.messages()]
        assert len(found) > 250
        assert not Counter(found) - Counter(drive(250))
        assert len(found) + bag.unreadable == 750
        assert 'nothing can be read after' in bag.damage


@pytest.mark.parametrize('storage', [MCAP, SQLITE])
def test_compressed_messages_are_read_from_what_is_left(bags: BagFolder, storage: Any) -> None:
    path = bags.write(drive(400), storage=storage, compression=MESSAGE)
    (file,) = (file for file in path.iterdir() if file.suffix != '.yaml')
    (path / 'metadata.yaml').unlink()
    assert contents(path) == drive(400)
    assert contents(file) == drive(400)
    if storage is MCAP:
        # one chunk holds them all
        return
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3 // 4096 * 4096])
    left = contents(path)
    assert len(left) > 100
    assert not Counter(left) - Counter(drive(400))


def test_a_recording_without_metadata(bags: BagFolder) -> None:
    path = bags.write(drive(4))
    (path / 'metadata.yaml').unlink()
    assert contents(path) == drive(4)
    with open_bag(path) as bag:
        assert 'metadata.yaml is missing' in bag.damage


def test_a_bag_without_definitions(bags: BagFolder, options: SegmentOptions) -> None:
    path = bags.write(drive(4), storage=SQLITE)
    (file,) = path.glob('*.db3')
    with sqlite3.connect(file) as database:
        database.execute('DELETE FROM message_definitions')
    with open_bag(path) as bag:
        assert bag.topics[0].definition.format is MessageDefinitionFormat.NONE
    run = BagSegmentation(find_jobs([path], bags.folder / 'out', options), resume=False)
    assert any('using the definitions of ROS 2 jazzy' in note for note in run.notes)
    run.segment(lambda _: None)
    with open_bag(bags.folder / 'out') as bag:
        assert bag.topic('/camera/image_raw').definition.format is MessageDefinitionFormat.MSG


def test_a_ros_1_bag(tmp_path: Path, options: SegmentOptions) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    types, path = store.types, tmp_path / 'old.bag'
    with Writer1(path) as writer:
        kinds = IMAGE, 'sensor_msgs/msg/CameraInfo', STRING
        cameras, infos, notes = (
            writer.add_connection(name, kind, typestore=store)
            for name, kind in zip(
                ('/camera/image_raw', '/camera/info', '/notes'), kinds, strict=True
            )
        )
        for i in range(4):
            time = types['builtin_interfaces/msg/Time'](1_700_000_000, i)
            head = types['std_msgs/msg/Header'](i, time, 'cam')
            pixels = pattern(i)
            message = types[IMAGE](head, 48, 64, 'bgr8', 0, 192, pixels.reshape(-1))
            writer.write(cameras, START + i * PERIOD, store.serialize_ros1(message, IMAGE))
            roi = types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, do_rectify=False)
            k, p = np.zeros(9), np.zeros(12)
            info = types[kinds[1]](head, 48, 64, 'plumb_bob', np.zeros(5), k, k, p, 0, 0, roi)
            writer.write(infos, START + i * PERIOD, store.serialize_ros1(info, kinds[1]))
            note = store.serialize_ros1(types[STRING](f'{i}'), STRING)
            writer.write(notes, START + i * PERIOD, note)
    ((_, result),) = BagSegmentation(
        find_jobs([path], tmp_path / 'out', options), resume=False
    ).segment(lambda _: None)
    assert result.frames == 4
    with open_bag(tmp_path / 'out') as bag:
        assert len(list(bag.messages([bag.topic('/lemore_segmentation/labels')]))) == 4
        frames = [frame for _, frame in bag.frames(bag.topic('/camera/image_raw'))]
        for i, frame in enumerate(frames):
            assert isinstance(frame, Image)
            np.testing.assert_array_equal(frame.pixels, pattern(i))
            assert frame.header.frame_id == 'cam'
            assert frame.header.stamp.nanosec == i
        (info, *_) = (r.message for r in bag.messages([bag.topic('/camera/info')]))
        assert (info.height, info.k.size) == (48, 9)
        assert [r.message.data for r in bag.messages([bag.topic('/notes')])] == list('0123')


def rosbag1(path: Path, count: int, compression: Writer1.CompressionFormat | None = None) -> Path:
    """Write a ROS 1 bag of ``count`` images, a chunk for every two."""
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    writer = Writer1(path)
    writer.chunk_threshold = 48 * 64 * 3 * 3 // 2
    if compression is not None:
        writer.set_compression(compression)
    with writer:
        camera = writer.add_connection('/image', IMAGE, typestore=store)
        for i in range(count):
            time = types['builtin_interfaces/msg/Time'](1_700_000_000, i)
            head = types['std_msgs/msg/Header'](i, time, 'cam')
            message = types[IMAGE](head, 48, 64, 'bgr8', 0, 192, pattern(i).reshape(-1))
            writer.write(camera, START + i * PERIOD, store.serialize_ros1(message, IMAGE))
    return path


def images_of(path: Path) -> tuple[dict[int, Any], str]:
    """Return the images of a bag by their places in the drive, and what it says of damage."""
    with open_bag(path) as bag:
        frames = list(bag.frames(bag.topic('/image')))
        assert bag.topic('/image').count >= len(frames)
        return {(r.time_ns - START) // PERIOD: f.pixels.copy() for r, f in frames}, bag.damage


def test_a_ros_1_recording_that_broke_off_gives_what_is_there(tmp_path: Path) -> None:
    path = rosbag1(tmp_path / 'drive.bag.active', 10)
    whole = path.read_bytes()
    place = whole.index(b'index_pos=') + len(b'index_pos=')
    (index,) = struct.unpack('<Q', whole[place : place + 8])
    begun = bytearray(whole[:index])
    begun[place : place + 8] = bytes(8)
    path.write_bytes(begun)
    found, damage = images_of(path)
    assert list(found) == list(range(10))
    assert all(np.array_equal(pixels, pattern(i)) for i, pixels in found.items())
    assert 'has no index' in damage
    path.write_bytes(begun[: len(begun) // 2])
    found, damage = images_of(path)
    assert list(found) == list(range(len(found)))
    assert 3 <= len(found) <= 6
    assert all(np.array_equal(pixels, pattern(i)) for i, pixels in found.items())
    assert 'is damaged' in damage


@pytest.mark.parametrize('compression', [None, *Writer1.CompressionFormat])
def test_a_damaged_chunk_of_a_ros_1_bag_costs_its_own_messages(
    tmp_path: Path, compression: Writer1.CompressionFormat | None
) -> None:
    path = rosbag1(tmp_path / 'drive.bag', 12, compression)
    data = bytearray(path.read_bytes())
    chunks = [match.start() for match in re.finditer(b'compression=', bytes(data))]
    assert len(chunks) >= 5
    # behind the chunk's header
    start = chunks[2] + 60
    data[start : start + 300] = bytes(300)
    path.write_bytes(data)
    found, damage = images_of(path)
    assert set(range(12)) - set(found) in ({4}, {5}, {4, 5})
    assert list(found) == sorted(found)
    assert 'is damaged' in damage
    for i in (0, 1, 2, 3, 6, 11):
        assert np.array_equal(found[i], pattern(i))


def test_info(bags: BagFolder, capsys: pytest.CaptureFixture[str]) -> None:
    messages = [m for m in drive(20) if not 12 <= (m[2] - START) // PERIOD < 15]
    messages += [('/depth', IMAGE, START + 10, image(0, START, encoding='16UC1'))]
    messages += [
        ('/seg/color', IMAGE, START + 20, image(0, START)),
        ('/seg/classes', STRING, START + 20, text(classes_json(load_taxonomy('camvid')))),
    ]
    path = bags.write(sorted(messages, key=lambda m: m[2]))
    assert main(['bag', 'info', str(path), '--json']) == 0
    camera, depth, color = json.loads(capsys.readouterr().out)['images']
    assert (camera['width'], camera['height'], camera['encoding']) == (64, 48, 'bgr8')
    assert (camera['count'], camera['rate_hz']) == (17, 10.0)
    assert camera['gaps_s'] == [[1.1, 0.4]]
    assert 'depth image' in depth['problem']
    assert color['problem'] == 'it is the result of a segmentation'
    assert main(['bag', 'info', str(path)]) == 0
    words = capsys.readouterr().out
    assert '64x48 bgr8  17 images, 10 Hz  a camera' in words
    assert 'a gap of 0.40 s at 1.10 s' in words
