"""Cameras and results are found by their messages, not by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import Writer

from lemore_core.taxonomy import load_taxonomy
from lemore_ros.bags.cli.info import inspect
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.reader import open_bag
from lemore_ros.bags.stamps import stamp_notes
from lemore_ros.bags.topics import camera_topic, find_cameras, probe_images, recorded_labels
from lemore_ros.bags.writer import NO_DIGEST
from lemore_ros.messages.rendering import classes_json
from lemore_ros.outputs import CAMERA_INFO
from test.bags.conftest import (
    COMPRESSED,
    IMAGE,
    PERIOD,
    START,
    STORE,
    STRING,
    TYPES,
    BagFolder,
    header,
    image,
    jpeg,
    text,
)

TABLE = classes_json(load_taxonomy('camvid'))


def mask(encoding: str = 'mono8') -> bytes:
    width = 64 * (2 if '16' in encoding else 1)
    data = np.zeros(48 * width, np.uint8)
    message = TYPES[IMAGE](header(START), 48, 64, encoding, 0, width, data)
    return bytes(STORE.serialize_cdr(message, IMAGE))


def write(bags: BagFolder, topics: dict[str, bytes], tables: dict[str, str] | None = None) -> Path:
    """Write one image a topic, and one text for each table."""
    messages = [(name, IMAGE, START + i, data) for i, (name, data) in enumerate(topics.items())]
    messages += [(name, STRING, START, text(table)) for name, table in (tables or {}).items()]
    return bags.write(sorted(messages, key=lambda message: message[2]))


def cameras(path: Path) -> list[str]:
    """Return what ``segment`` takes, and hold the other commands to the same rule."""
    with open_bag(path) as bag:
        found, _ = find_cameras(bag)
        names = [camera.topic.name for camera in found.values()]
        assert [i['name'] for i in inspect(bag)['images'] if not i['problem']] == names
        if len(names) == 1:
            assert camera_topic(bag).name == names[0]
        return names


@pytest.mark.parametrize('prefix', ['/lemore_segmentation', '/x/front'])
def test_results_beside_their_class_table_are_no_cameras(bags: BagFolder, prefix: str) -> None:
    results = {
        f'{prefix}/labels': mask('16UC1'),  # many classes: the encoding of depth images
        f'{prefix}/confidence': mask(),
        f'{prefix}/color': image(0, START, encoding='rgb8'),
        f'{prefix}/overlay': image(0, START, encoding='rgb8'),
    }
    camera = f'{prefix}/image_raw'
    path = write(bags, {camera: image(0, START), **results}, {f'{prefix}/classes': TABLE})
    assert cameras(path) == [camera]
    with open_bag(path) as bag:
        assert [topic.name for topic in recorded_labels(bag)] == [f'{prefix}/labels']
        problems = {probe.problem for probe in probe_images(bag) if probe.topic.name != camera}
    assert problems == {'it is the result of a segmentation'}


def test_a_depth_image_is_known_by_its_encoding_not_by_its_name(bags: BagFolder) -> None:
    names = ['/camera/color', '/oak/depth/rgb', '/overlay', '/robot/labels']
    topics = {name: image(0, START) for name in names}
    topics |= {f'/{kind}': image(0, START, encoding=kind) for kind in ('16UC1', '32FC1')}
    assert cameras(write(bags, topics)) == names


@pytest.mark.parametrize(
    ('raw', 'copies', 'chosen'),
    [
        ([], 4, '/compressed'),  # a driver that publishes on demand
        ([image(0, START)], 4, '/compressed'),
        ([image(0, START, encoding='no such')] * 4, 4, '/compressed'),
        ([image(0, START)] * 2, 4, ''),
        ([image(0, START)], 0, ''),
    ],
)
def test_of_a_camera_recorded_twice_the_topic_with_the_images_is_taken(
    bags: BagFolder, raw: list[bytes], copies: int, chosen: str
) -> None:
    messages = [('/cam', IMAGE, START + i, data) for i, data in enumerate(raw)]
    messages += [('/cam/compressed', COMPRESSED, START + i, jpeg(i, START)) for i in range(copies)]
    path = bags.write(messages, empty=[('/cam', IMAGE), ('/cam/compressed', COMPRESSED)])
    with open_bag(path) as bag:
        found, others = find_cameras(bag)
        assert (found[''].topic.name, others) == (f'/cam{chosen}', [])


def test_broken_first_images_do_not_cost_the_camera(bags: BagFolder) -> None:
    broken = [('/rear', IMAGE, START + i, image(0, START, size=(0, 0))) for i in range(40)]
    good = [(name, IMAGE, START + 50, image(0, START)) for name in ('/front', '/rear')]
    assert cameras(bags.write([*broken, *good])) == ['/front', '/rear']


def test_images_of_a_type_that_is_not_read_are_named_but_not_copies_of_a_camera(
    bags: BagFolder,
) -> None:
    theora = 'theora_image_transport/msg/Packet'
    others = {
        '/front/theora': theora,
        '/left': 'foxglove_msgs/msg/RawImage',
        '/rear/theora': theora,
    }
    with Writer(bags.folder / 'drive', version=9) as writer:
        camera = writer.add_connection('/front', IMAGE, typestore=STORE)
        writer.write(camera, START, image(0, START))
        writer.add_connection('/empty', IMAGE, typestore=STORE)
        for name, kind in {**others, '/disparity': 'x_msgs/msg/DisparityImage'}.items():
            made = writer.add_connection(name, kind, msgdef='uint8[] data', rihs01=NO_DIGEST)
            writer.write(made, START, b'\0\1\0\0')
    with open_bag(bags.folder / 'drive') as bag:
        cameras, (empty, left, rear) = find_cameras(bag)
        assert [camera.topic.name for camera in cameras.values()] == ['/front']
        assert (empty.topic.name, empty.problem) == ('/empty', 'it has no messages')
        assert (left.topic.name, rear.topic.name) == ('/left', '/rear/theora')
        assert (empty.is_unreadable, left.is_unreadable, rear.is_unreadable) == (False, True, True)
        assert rear.problem.startswith(f'{theora}: not read, republish it as sensor_msgs')
        assert len([note for note in inspect(bag)['notes'] if 'republish' in note]) == len(others)


def test_of_named_topics_an_unreadable_one_costs_itself(bags: BagFolder) -> None:
    with open_bag(write(bags, {'/a': image(0, START), '/d': mask('16UC1')})) as bag:
        cameras, (depth,) = find_cameras(bag, ['/a', '/d'])
        assert [camera.topic.name for camera in cameras.values()] == ['/a']
        assert (depth.topic.name, depth.is_unreadable) == ('/d', True)


def test_another_topic_called_classes_makes_no_results(bags: BagFolder) -> None:
    texts = ['', 'no json', '[]', '{"a": 1}', '[1, 2]', '[{"id": 0}]']
    names = [f'/camera{number}/color' for number in range(len(texts))]
    tables = {f'/camera{number}/classes': table for number, table in enumerate(texts)}
    assert cameras(write(bags, {name: image(0, START) for name in names}, tables)) == names


def drive_with(bags: BagFolder, lag: int, size: tuple[int, int] = (48, 64)) -> Path:
    """Write a camera, and grey images of ``size`` with its stamps moved by ``lag`` nanoseconds."""
    messages = []
    for time in range(START, START + 20 * PERIOD, PERIOD):
        pixels = np.zeros(size, 'u1').ravel()
        grey = TYPES[IMAGE](header(time + lag), *size, 'mono8', 0, size[1], pixels)
        data = bytes(STORE.serialize_cdr(grey, IMAGE))
        messages.append(('/cam', IMAGE, time, image(0, time)))
        messages.append(('/truth', IMAGE, time + 3 * PERIOD, data))
    return bags.write(sorted(messages, key=lambda message: message[2]))


def test_grey_images_of_the_stamps_and_size_of_a_camera_are_its_labels_or_a_mask(
    bags: BagFolder,
) -> None:
    path = drive_with(bags, 0)
    assert cameras(path) == ['/cam']
    with open_bag(path) as bag:
        (_, truth) = inspect(bag)['images']
        assert truth['problem'] == 'labels or mask of /cam'
        named = find_cameras(bag, ['/truth'])[0]['']
        assert named.topic.name == '/truth'


@pytest.mark.parametrize(('lag', 'size'), [(1, (48, 64)), (0, (24, 32))])
def test_a_grey_camera_of_other_stamps_or_size_stays_one(
    bags: BagFolder, lag: int, size: tuple[int, int]
) -> None:
    assert cameras(drive_with(bags, lag, size)) == ['/cam', '/truth']


def test_the_only_camera_in_colour_is_taken_and_several_are_named(bags: BagFolder) -> None:
    topics = {'/left': mask(), '/right': mask(), '/colour': image(0, START)}
    with open_bag(write(bags, topics)) as bag:
        assert camera_topic(bag).name == '/colour'
        assert camera_topic(bag, '/left').name == '/left'
    with (
        open_bag(bags.write([(n, IMAGE, START, image(0, 0)) for n in ('/a', '/b')], 'two')) as bag,
        pytest.raises(BagError, match=r'2 cameras: choose one with --topic \(/a, /b\)'),
    ):
        camera_topic(bag)


def test_the_field_of_view_is_that_of_the_camera_info_beside_a_camera(
    bags: BagFolder, lemore: Any
) -> None:
    messages = [(f'/{name}/image', IMAGE, START, image(0, START)) for name in 'abc']
    infos = TYPES[CAMERA_INFO], TYPES['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    for name, focal in (('a', 32.0), ('b', 0.0)):  # b is not calibrated, c has none
        k = np.array([focal, 0, 32, 0, focal, 24, 0, 0, 1.0])
        d, r, p = np.zeros(0), np.eye(3).ravel(), np.zeros(12)
        info = infos[0](header(START), 48, 64, '', d, k, r, p, 0, 0, infos[1])
        data = bytes(STORE.serialize_cdr(info, CAMERA_INFO))
        messages.append((f'/{name}/camera_info', CAMERA_INFO, START, data))
    path = bags.write(messages)
    with open_bag(path) as bag:
        views = [found['field_of_view'] for found in inspect(bag)['images']]
    assert views == [pytest.approx((np.pi / 2, 2 * np.arctan(0.75))), None, None]
    done = lemore('bag', 'info', path)
    assert (done.status, done.out.count('field of view 1.571 x 1.287 rad')) == (0, 1)


def test_a_result_may_be_segmented_by_who_names_it(bags: BagFolder) -> None:
    topics = {'/seg/color': image(0, START, encoding='rgb8')}
    with open_bag(write(bags, topics, {'/seg/classes': TABLE})) as bag:
        camera = find_cameras(bag, ['/seg/color'])[0]['']
        assert camera.topic.name == '/seg/color'
        with pytest.raises(BagError, match='has no camera: it has /seg/classes'):
            find_cameras(bag)


@pytest.mark.parametrize(
    ('stamps', 'expected'),
    [
        # seconds; received at 1000, 1001, ...
        ([1000, 1001, 1002, 1003], []),
        ([0, 0, 0, 0], ['4 of 4 stamps are zero: receive times count']),
        ([0, 1001, 1002, 1003], ['1 of 4 stamps are zero: receive times count']),
        ([1000, 1001, 1002, 8203], ['1 jump of the stamps, the longest by 2.00 h at 2.00 s']),
        (
            [1000, 1001, 900, 901],
            [
                '1 jump of the stamps, the longest by -102.00 s at 1.00 s',
                '1 stamp not after the one before',
            ],
        ),
        # what most have counts, not the mean of two clocks
        ([1000, 1001, 101, 102], ['1 jump of the stamps', '1 stamp not after']),
        (
            [5, 5, 6, 7],
            ['1 stamp not after', 'stamps of another clock, 996.00 s before the recorder'],
        ),
    ],
)
def test_odd_stamps_are_named(stamps: list[int], expected: list[str]) -> None:
    times = [(1000 + index) * 10**9 for index in range(len(stamps))]
    found = stamp_notes(times, [stamp * 10**9 for stamp in stamps], times[0])
    assert [note[: len(text)] for note, text in zip(found, expected, strict=True)] == expected
