"""Bags of every kind, whole and damaged."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sqlite3
import struct
from collections import Counter
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from mcap.records import ChunkIndex
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_typestore

from lemore_core.images.image import Image
from lemore_core.taxonomy import load_taxonomy
from lemore_ros.bags.compression import decompress_file
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.parts import BagSegmentation
from lemore_ros.bags.reader import is_bag, open_bag
from lemore_ros.messages.images import ImageError
from lemore_ros.messages.rendering import classes_json
from test.bags.conftest import (
    COMPRESSED,
    IMAGE,
    PERIOD,
    START,
    STRING,
    BagFolder,
    contents,
    damaged,
    drive,
    execute,
    image,
    jpeg,
    only_file,
    pattern,
    read,
    segment,
    text,
)

MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3
NONE, MESSAGE = CompressionMode.NONE, CompressionMode.MESSAGE
STORAGE, FILE = CompressionMode.STORAGE, CompressionMode.FILE


@pytest.mark.parametrize(
    ('storage', 'compression'),
    [*product((MCAP, SQLITE), (NONE, MESSAGE, FILE)), (MCAP, STORAGE)],
)
def test_every_storage_gives_the_same(bags: BagFolder, storage: Any, compression: Any) -> None:
    messages = drive(5)
    path = bags.write(messages, storage=storage, compression=compression)
    with open_bag(path) as bag:
        assert read(bag) == messages
        counts = {topic.name: topic.count for topic in bag.topics}
        assert counts == {'/camera/image_raw': 5, '/notes': 10}
        assert (bag.start_ns, bag.end_ns) == (messages[0][2], messages[-1][2])
        assert (str(bag.errors), bag.errors.messages) == ('', 0)
    (path / 'metadata.yaml').unlink()
    assert damaged(path) == (messages, 'metadata.yaml is missing', 0)
    file = only_file(path)
    if compression is not FILE:
        assert contents(file) == messages
    else:  # what was packed is not read again beside it
        decompress_file(file, file.with_suffix(''))
        file.write_bytes(file.read_bytes()[:-9])
        assert contents(path) == messages


def test_frames_raw_compressed_and_broken(bags: BagFolder) -> None:
    messages = [
        ('/a', IMAGE, START, image(1, START)),
        ('/a', IMAGE, START + 1, image(1, START)[:50]),
        ('/a', IMAGE, START + 2, image(1, START, size=(0, 4))),
        ('/b', COMPRESSED, START + 3, jpeg(1, START)),
    ]
    with open_bag(bags.write(messages)) as bag:
        good, cut, empty = (frame for _, frame in bag.frames(bag.topic('/a')))
        ((_, compressed),) = bag.frames(bag.topic('/b'))
    assert isinstance(good, Image)
    np.testing.assert_array_equal(good.pixels, pattern(1))
    assert isinstance(cut, BagError)
    assert 'are no sensor_msgs/msg/Image' in str(cut)
    assert isinstance(empty, ImageError)
    assert isinstance(compressed, Image)
    assert compressed.pixels.shape == good.pixels.shape


def test_what_is_no_bag_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe.db3')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'folder' / 'a.bag').touch()
    lfs = 'version https://git-lfs.github.com/spec/v1\noid'
    for name, content, reason in (
        ('none', None, 'there is no bag'),
        ('notes.txt', 'hello', 'is no bag: give a rosbag2 folder'),
        ('empty.mcap', '', 'nothing of .* can be read: empty.mcap: it is empty'),
        ('wrong.db3', 'x' * 5000, 'wrong.db3: it is not a database of SQLite: .* with b.xxx'),
        ('page.mcap', '<!DOCTYPE html>', 'it is a web page .HTML., not the file itself'),
        ('a.mcap.active', 'hello', "it is not an mcap file: it begins with b'hello'"),
        ('drive.bag.zip', 'PK', 'is no bag: unpack it, and give the bag that it holds'),
        ('zero.bag', '', 'nothing of .* can be read: zero.bag: it is empty'),
        ('old.bag', '#ROSBAG V2.0\n', 'old.bag: .* cut off before its header'),
        ('pipe.db3', None, 'it is no regular file'),
        ('pointer.bag', lfs, 'it is a Git LFS pointer, not the file itself: git lfs pull'),
        ('folder', None, 'metadata.yaml is missing; it holds no .* but bags: .* such as .*/a.bag'),
    ):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(BagError, match=reason), open_bag(tmp_path / name):
            pass


@pytest.mark.parametrize(
    ('storage', 'compression', 'least', 'reason'),
    [
        (MCAP, NONE, 0, ''),
        (MCAP, STORAGE, 0, ''),
        (MCAP, FILE, 300, 'mcap.zstd is damaged'),
        (SQLITE, NONE, 30, 'nothing can be read after'),
        (SQLITE, MESSAGE, 30, 'nothing can be read after'),
    ],
)
def test_a_file_that_is_cut_anywhere_gives_what_is_before(
    bags: BagFolder, storage: Any, compression: Any, least: int, reason: str
) -> None:
    messages = drive(450)
    path = bags.write(messages, storage=storage, compression=compression)
    whole, chunk = only_file(path).read_bytes(), 0
    if compression is NONE and storage is MCAP:
        chunk = chunks_of(only_file(path))[0].chunk_length
    for end in random.Random(1).sample(range(len(whole) * 45 // 100, len(whole) * 9 // 10), 5):
        # pages of SQLite are whole
        only_file(path).write_bytes(whole[: end // 4096 * 4096 if storage is SQLITE else end])
        found, errors, lost = damaged(path)
        assert not Counter(found) - Counter(messages)
        assert storage is SQLITE or found == messages[: len(found)]
        assert len(found) + lost == len(messages)
        assert len(found) > least
        assert errors
        assert reason in errors
        # the chunk that is cut is lost
        assert not chunk or len(found) > len(messages) * (end - chunk) / len(whole) - 6


def chunks_of(file: Path) -> list[ChunkIndex]:
    with file.open('rb') as opened:
        summary = make_reader(opened).get_summary()
    assert summary
    return sorted(summary.chunk_indexes, key=lambda chunk: chunk.chunk_start_offset)


def test_a_damaged_chunk_costs_its_own_messages(bags: BagFolder) -> None:
    path = bags.write(drive(450), compression=STORAGE)
    file = only_file(path)
    data = bytearray(file.read_bytes())
    _, chunk, *others = chunks_of(file)
    assert len(others) > 1
    middle = chunk.chunk_start_offset + chunk.chunk_length // 2
    data[middle : middle + 64] = bytes(64)
    file.write_bytes(data)
    found, errors, count = damaged(path)
    assert [m[2] for m in found] == sorted(m[2] for m in found)
    lost = Counter(drive(450)) - Counter(found)
    assert not Counter(found) - Counter(drive(450))
    assert 0 < lost.total() == count
    assert all(chunk.message_start_time <= m[2] <= chunk.message_end_time for m in lost)
    assert 'the chunk at byte' in errors


def test_a_damaged_file_does_not_hide_the_next_one(bags: BagFolder) -> None:
    content = only_file(bags.write(drive(20), 'whole')).read_bytes()
    cut = bags.folder / 'cut'
    cut.mkdir()
    (cut / 'cut_0.mcap').write_bytes(content[:-2000])
    (cut / 'cut_1.mcap').write_bytes(content)
    found, errors, _ = damaged(cut)
    assert found[-60:] == drive(20)
    assert 'cut_0.mcap' in errors


def test_a_bag_is_known_by_its_content_whatever_its_name(bags: BagFolder, tmp_path: Path) -> None:
    stored = {'mcap': bags.write(drive(2), 'm'), 'db3': bags.write(drive(2), 's', storage=SQLITE)}
    names = {'mcap': ('x.MCAP', 'x.mcap.active', 'x.db3'), 'db3': ('y.DB3', 'y.mcap', 'y.bak')}
    for kind, name in ((one, name) for one in stored for name in names[one]):
        shutil.copy(only_file(stored[kind]), tmp_path / name)
        assert is_bag(tmp_path / name)
        assert contents(tmp_path / name) == drive(2)


def test_a_renamed_file_of_a_split_bag_is_read_and_another_one_named(bags: BagFolder) -> None:
    path, other = bags.write(drive(4)), bags.write(drive(9)[12:], 'other')
    only_file(other).rename(path / 'more.mcap')
    found, errors, _ = damaged(path)
    assert found == drive(4)
    assert errors.startswith('more.mcap is left out, metadata.yaml does not name it')
    about = yaml.safe_load((path / 'metadata.yaml').read_text())
    about['rosbag2_bagfile_information']['relative_file_paths'].append('drive_1.mcap')
    (path / 'metadata.yaml').write_text(yaml.safe_dump(about))
    (path / 'more.mcap').rename(path / '0_first.mcap')
    bags.write(drive(1), 'drive/nested')
    assert damaged(path)[:2] == (drive(9), 'drive_1.mcap is missing')
    (path / 'metadata.yaml').unlink()
    shutil.copy(path / '0_first.mcap', path / 'recovered.mcap')
    messages, errors, *_ = damaged(path)
    assert messages == drive(9)
    assert 'recovered.mcap is left out, another file has all of it' in errors
    assert 'nested is left out, it is a bag of its own: give it by name' in errors


def test_a_sqlite_file_of_ros_2_crystal_has_types_without_their_folder(bags: BagFolder) -> None:
    path = bags.write(drive(2), storage=SQLITE)
    execute(path, "UPDATE topics SET type = replace(type, '/msg/', '/')")
    assert contents(only_file(path)) == drive(2)


@pytest.mark.parametrize('storage', [MCAP, SQLITE])
@pytest.mark.parametrize('profiles', ['- depth: 10', '/notes: {depth: 10}', 'null', '7', '{'])
def test_profiles_that_a_script_made_up_cost_no_message(
    bags: BagFolder, storage: Any, profiles: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('rosbags.rosbag2.writer.dump_qos_v9', lambda _: profiles)
    path = only_file(bags.write(drive(2), storage=storage))
    assert profiles.encode() in path.read_bytes()
    with open_bag(path) as bag:
        assert (read(bag), [topic.qos for topic in bag.topics]) == (drive(2), [(), ()])
        assert str(bag.errors) == ''


def test_a_damaged_page_of_a_sqlite_file_costs_its_rows(bags: BagFolder, lemore: Any) -> None:
    path = bags.write(drive(60), storage=SQLITE)
    content = bytearray(only_file(path).read_bytes())
    page = content.index(drive(60)[90][3][:40]) // 4096
    content[4096 * page : 4096 * (page + 1)] = bytes(4096)
    only_file(path).write_bytes(content)
    found, errors, lost = damaged(path)
    assert 0 < (Counter(drive(60)) - Counter(found)).total() == lost < 20
    assert 'the rows' in errors
    done = lemore('bag', 'info', path)
    assert done.status == 3
    assert f'damaged, {lost} messages known to be lost' in done.out


def test_a_sqlite_recording_that_a_crash_left_with_its_log(
    bags: BagFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages, left = drive(20), bags.folder / 'left'
    path = bags.write(messages[:3], storage=SQLITE)
    with closing(sqlite3.connect(only_file(path))) as database:
        database.execute('PRAGMA journal_mode = WAL')
        insert = 'INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)'
        for topic, _, *row in messages[3:]:
            database.execute(insert, (1 if topic == messages[0][0] else 2, *row))
            database.commit()
        shutil.copytree(path, left)
    assert len(list(left.iterdir())) == 4
    assert contents(left) == messages
    (index,) = left.glob('*-shm')
    index.unlink()
    index.mkdir()  # SQLite cannot write its index of the log
    assert contents(left) == messages
    index.rmdir()
    monkeypatch.setattr('os.access', lambda *_: False)  # root may write everywhere
    found, errors, _ = damaged(left)
    assert found == messages[:3]
    assert 'its write-ahead log is not read in a folder that cannot be written' in errors


def test_a_row_before_all_time_is_damaged(bags: BagFolder) -> None:
    path = bags.write(drive(3), storage=SQLITE)
    execute(path, 'UPDATE messages SET timestamp = -timestamp WHERE id = 1')
    with open_bag(path) as bag:
        assert (len(read(bag)), bag.start_ns) == (8, START + 1000)
        assert f'the time of row 1 is -{START}' in str(bag.errors)


def test_a_bag_without_definitions(bags: BagFolder, options: SegmentOptions) -> None:
    path = bags.write(drive(4), storage=SQLITE)
    execute(path, 'DELETE FROM message_definitions')
    with open_bag(path) as bag:
        assert bag.topics[0].definition.format is MessageDefinitionFormat.NONE
    run = BagSegmentation([path], bags.folder / 'out', options, resume=False)
    assert any('using the definitions of ROS 2 jazzy' in note for note in run.notes)
    run.segment(lambda _: None)
    with open_bag(bags.folder / 'out') as bag:
        assert bag.topic('/camera/image_raw').definition.format is MessageDefinitionFormat.MSG


def rosbag1(path: Path, count: int, compression: Writer1.CompressionFormat | None = None) -> Path:
    """Write a ROS 1 bag of ``count`` images, a chunk for every two, and calibrations of the camera."""
    store = get_typestore(Stores.ROS1_NOETIC)
    types, kind = store.types, 'sensor_msgs/msg/CameraInfo'
    roi = types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, do_rectify=False)
    d, k, p = np.zeros(5), np.zeros(9), np.zeros(12)
    writer = Writer1(path)
    writer.chunk_threshold = 48 * 64 * 3 * 3 // 2
    if compression is not None:
        writer.set_compression(compression)
    with writer:
        topics = {IMAGE: '/image', kind: '/info'}
        topics = {one: writer.add_connection(topics[one], one, typestore=store) for one in topics}
        for one, i in product(topics, range(count)):
            time = types['builtin_interfaces/msg/Time'](1_700_000_000, i)
            head = types['std_msgs/msg/Header'](i, time, 'cam')
            message = types[IMAGE](head, 48, 64, 'bgr8', 0, 192, pattern(i).reshape(-1))
            if one == kind:
                message = types[kind](head, 48, 64, 'plumb_bob', d, k, k, p, 0, 0, roi)
            writer.write(topics[one], START + i * PERIOD, store.serialize_ros1(message, one))
    return path


def images_of(path: Path) -> tuple[dict[int, Any], str]:
    """Return the images of a ROS 1 bag by number, and its damage."""
    with open_bag(path) as bag:
        frames = list(bag.frames(bag.topic('/image')))
        assert bag.topic('/image').count >= len(frames)
        found = {(r.time_ns - START) // PERIOD: f.pixels.copy() for r, f in frames}
        assert all(np.array_equal(pixels, pattern(i)) for i, pixels in found.items())
        return found, str(bag.errors)


def test_a_ros_1_bag_becomes_a_ros_2_bag(tmp_path: Path, options: SegmentOptions) -> None:
    assert damaged(rosbag1(tmp_path / 'empty.bag', 0)) == ([], '', 0)
    source = rosbag1(tmp_path / 'old.bag', 4)
    assert segment(source, tmp_path / 'out', options).frames == 4
    found, damage = images_of(tmp_path / 'out')
    assert (list(found), damage) == ([0, 1, 2, 3], '')
    with open_bag(tmp_path / 'out') as bag:
        assert len(list(bag.messages([bag.topic('/lemore_segmentation/labels')]))) == 4
        for i, record in enumerate(bag.messages([bag.topic('/info')])):
            assert (record.message.height, record.message.k.size) == (48, 9)
            assert record.message.header.stamp.nanosec == i


def test_an_interrupted_ros_1_recording_gives_its_complete_chunks(tmp_path: Path) -> None:
    path = rosbag1(tmp_path / 'drive.bag.active', 10)
    whole = path.read_bytes()
    place = whole.index(b'index_pos=') + len(b'index_pos=')
    (index,) = struct.unpack('<Q', whole[place : place + 8])
    begun = bytearray(whole[:index])
    begun[place : place + 8] = bytes(8)
    first = begun.index(b'compression=')
    for end, least, most, reason in (
        (len(begun), 10, 10, 'has no index'),
        (len(begun) // 2, 3, 6, 'is damaged'),
        (first + 15_000, 1, 1, ''),  # the first chunk is all that there is
    ):
        path.write_bytes(begun[:end])
        found, damage = images_of(path)
        assert list(found) == list(range(len(found)))
        assert least <= len(found) <= most
        assert reason in damage


@pytest.mark.parametrize('compression', [None, *Writer1.CompressionFormat])
def test_a_damaged_ros_1_chunk_costs_its_own_messages(tmp_path: Path, compression: Any) -> None:
    path = rosbag1(tmp_path / 'drive.bag', 12, compression)
    data = bytearray(path.read_bytes())
    _, _, chunk, *others = re.finditer(b'compression=', bytes(data))
    assert len(others) >= 2
    start = chunk.start() + 60  # behind the chunk's header
    data[start : start + 300] = bytes(300)
    path.write_bytes(data)
    found, damage = images_of(path)
    assert set(range(12)) - set(found) in ({4}, {5}, {4, 5})
    assert list(found) == sorted(found)
    assert 'is damaged' in damage


def test_info(bags: BagFolder, lemore: Any) -> None:
    messages = [m for m in drive(20) if not 12 <= (m[2] - START) // PERIOD < 15]
    messages += [
        ('/depth', IMAGE, START + 10, image(0, START, encoding='16UC1')),
        ('/seg/color', IMAGE, START + 20, image(0, START)),
        ('/seg/classes', STRING, START + 20, text(classes_json(load_taxonomy('camvid')))),
    ]
    path = bags.write(sorted(messages, key=lambda m: m[2]))
    done = lemore('bag', 'info', path, '--json')
    camera, depth, color = json.loads(done.out)['images']
    assert (camera['width'], camera['height'], camera['encoding']) == (64, 48, 'bgr8')
    assert (camera['count'], camera['rate_hz'], camera['gaps_s']) == (17, 10.0, [[1.1, 0.4]])
    assert 'depth image' in depth['problem']
    assert color['problem'] == 'it is the result of a segmentation'
    told = lemore('bag', 'info', path)
    assert (done.status, told.status) == (0, 0)
    assert '64x48 bgr8  17 images, 10 Hz  a camera' in told.out
    assert 'a gap of 0.40 s at 1.10 s' in told.out
