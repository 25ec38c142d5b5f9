"""Bags in, labelled bags out."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.interfaces import QosDurability

from lemore_core.common.memory import ProcessMemoryError, process_memory
from lemore_core.segmenter import Segmenter
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.options import NODE, RECORDED, SegmentOptions
from lemore_ros.bags.reader import open_bag
from test.bags.conftest import (
    COMPRESSED,
    IMAGE,
    PERIOD,
    QOS,
    START,
    STRING,
    BagFolder,
    contents,
    drive,
    files,
    image,
    jpeg,
    labels_of,
    pattern,
    segment,
    text,
)

Start = Callable[..., subprocess.Popen[str]]


def test_a_clock_beyond_all_stamps_costs_nothing(bags: BagFolder, options: SegmentOptions) -> None:
    later = [(topic, kind, time + 10**18, data) for topic, kind, time, data in drive(3)]
    assert segment(bags.write(later), bags.folder / 'out', options).frames == 3
    assert min(labels_of(bags.folder / 'out')) == START + 10**18


def test_labels_stand_beside_copied_originals(bags: BagFolder, options: SegmentOptions) -> None:
    messages = drive(10)
    source, output = bags.write(messages), bags.folder / 'out'
    assert segment(source, output, options).frames == 10
    written = contents(output)
    assert [m for m in written if not m[0].startswith(NODE)] == messages
    times = {m[2] for m in messages if m[1] == IMAGE}
    for name in ('labels', 'confidence', 'color', 'overlay'):
        assert {m[2] for m in written if m[0] == f'{NODE}/{name}'} == times
    assert [m[2] for m in written] == sorted(m[2] for m in written)
    with open_bag(output) as bag:
        assert bag.topic('/camera/image_raw').qos == (QOS,)
        assert bag.topic(f'{NODE}/classes').qos[0].durability is QosDurability.TRANSIENT_LOCAL
        assert bag.topic(f'{NODE}/label_info').type == 'vision_msgs/msg/LabelInfo'
        for record in bag.messages([bag.topic(f'{NODE}/labels')]):
            stamp = record.message.header.stamp
            assert stamp.sec * 10**9 + stamp.nanosec == record.time_ns - 12345
            assert record.message.header.frame_id == 'cam'
        (info, *_) = bag.messages([bag.topic(f'{NODE}/label_info')])
        (table, *_) = bag.messages([bag.topic(f'{NODE}/classes')])
        names = [entry['name'] for entry in json.loads(table.message.data)]
        assert [entry.class_name for entry in info.message.class_map] == names


def test_labels_are_those_of_the_segmenter(
    bags: BagFolder, options: SegmentOptions, exported: Path
) -> None:
    segment(bags.write(drive(5)), bags.folder / 'out', options)
    segmenter = Segmenter.load(exported, backend='onnxruntime', device='cpu')
    segment(bags.folder / 'drive', bags.folder / 'rotated', replace(options, rotate=180))
    rotated = labels_of(bags.folder / 'rotated')
    for index, (stamp, labels) in enumerate(sorted(labels_of(bags.folder / 'out').items())):
        np.testing.assert_array_equal(labels, segmenter.segment(pattern(index), 'bgr8').labels)
        assert len(np.unique(labels)) > 1
        upright = np.ascontiguousarray(pattern(index)[::-1, ::-1])
        expected = segmenter.segment(upright, 'bgr8').labels[::-1, ::-1]
        np.testing.assert_array_equal(rotated[stamp], expected)


def test_storage_compression_and_files_do_not_change_what_a_bag_holds(
    bags: BagFolder, options: SegmentOptions
) -> None:
    source, held = bags.write(drive(4)), []
    kinds = itertools.product(('mcap', 'sqlite3'), ('zstd', 'none'))
    for number, (storage, compression) in enumerate(kinds, 1):
        chosen = replace(options, storage=storage, compression=compression, file_frames=number)
        output = bags.folder / f'{storage}-{compression}'
        segment(source, output, chosen)
        assert len(files(output)) == 1 + math.ceil(4 / number)
        # descriptions are once a file
        held.append(Counter(m for m in contents(output) if not m[0].endswith(('classes', 'info'))))
    assert held[1:] == held[:-1]


def test_only_results_at_a_rate_of_a_stretch(bags: BagFolder, options: SegmentOptions) -> None:
    source = bags.write(drive(40))
    options = replace(options, only_results=True, rate=2.0, skip=1.0, duration=2.0)
    chosen = replace(options, outputs=('labels',))
    for frames in (1, 1000):
        output = bags.folder / f'out{frames}'
        segment(source, output, replace(chosen, file_frames=frames))
        times = [(m[2] - START) / PERIOD for m in contents(output)]
        assert times == [10, 15, 20, 25]


def test_several_cameras_raw_and_compressed(bags: BagFolder, options: SegmentOptions) -> None:
    messages = []
    for i in range(4):
        time = START + i * PERIOD
        messages += [
            ('/front/image_raw', IMAGE, time, image(i, time)),
            ('/front/image_raw/compressed', COMPRESSED, time, jpeg(i, time)),
            ('/rear/image/compressed', COMPRESSED, time, jpeg(i, time)),
        ]
    chosen = replace(options, outputs=RECORDED)
    segment(bags.write(messages), bags.folder / 'out', chosen)
    counts = Counter(m[0] for m in contents(bags.folder / 'out') if m[0].startswith(NODE))
    for camera in ('front', 'rear'):
        for output in ('labels', 'labels/compressed', 'overlay/compressed', 'confidence'):
            assert counts[f'{NODE}/{camera}/{output}'] == 4
    packed = labels_of(bags.folder / 'out', f'{NODE}/front/labels/compressed')
    for time, labels in labels_of(bags.folder / 'out', f'{NODE}/front/labels').items():
        np.testing.assert_array_equal(labels, packed[time])


def test_broken_images_are_copied_and_counted(bags: BagFolder, options: SegmentOptions) -> None:
    messages = drive(6)
    # older than the one before, and of another size
    messages[9] = ('/camera/image_raw', IMAGE, messages[9][2], image(3, 1, size=(30, 90)))
    broken = image(7, START, size=(0, 64))
    messages[3] = ('/camera/image_raw', IMAGE, messages[3][2], broken)
    messages[6] = ('/camera/image_raw', IMAGE, messages[6][2], messages[6][3][:30])
    result = segment(bags.write(messages), bags.folder / 'out', options)
    assert result.frames == 4
    assert sum(result.problems.values()) == 2
    assert any('both must be at least 1' in reason for reason in result.problems)
    kept = [m for m in contents(bags.folder / 'out') if not m[0].startswith(NODE)]
    assert kept == messages
    shapes = [labels.shape for labels in labels_of(bags.folder / 'out').values()]
    assert shapes == [(48, 64), (30, 90), (48, 64), (48, 64)]


def test_topics_of_one_name_and_two_types(bags: BagFolder, options: SegmentOptions) -> None:
    messages = []
    for now in range(START, START + 4 * PERIOD, PERIOD):
        messages.append(('/camera', IMAGE, now, image(0, START)))
        messages.append(('/camera', STRING, now + 1, text(str(now))))
    source = bags.write(messages)
    segment(source, bags.folder / 'out', replace(options, topic=('/camera',)))
    assert [m for m in contents(bags.folder / 'out') if m[0] == '/camera'] == messages


WITH_NOTES = [*drive(3), ('/camera/labels', STRING, START + 10**9, text('mine'))]


@pytest.mark.parametrize(
    ('messages', 'values', 'reason'),
    [
        ([('/notes', STRING, START, text('x'))], {}, 'has no camera: it has /notes'),
        ([('/d', IMAGE, START, image(0, 0, encoding='32FC1'))], {}, 'depth image'),
        ([('/d', IMAGE, START, image(0, 0, encoding='foo7'))], {}, "encoding 'foo7' is not read"),
        ([('/d', IMAGE, START, image(0, 0, size=(0, 0)))], {}, 'both must be at least 1'),
        (WITH_NOTES, {'topic': ('/nothing',)}, 'has no topic /nothing, there are: /camera'),
        (WITH_NOTES, {'topic': ('/notes',)}, 'is std_msgs/msg/String, its image topics are'),
        (WITH_NOTES, {'skip': 99.0}, 'skip is 99 s'),
        (WITH_NOTES, {'prefix': '/camera'}, 'has a topic /camera/labels already'),
        (WITH_NOTES, {'outputs': ('labels', 'mask')}, 'outputs is .* allowed: some of labels'),
        (WITH_NOTES, {'rate': -1.0, 'prefix': 'x/'}, 'rate is -1.0, allowed.*; prefix is'),
        (WITH_NOTES, {'storage': 'tar'}, "storage is 'tar', allowed: one of mcap, sqlite3"),
    ],
)
def test_what_does_not_fit_the_bag_is_refused(
    bags: BagFolder, options: SegmentOptions, messages: Any, values: Any, reason: str
) -> None:
    source = bags.write(messages)
    with pytest.raises(BagError, match=reason):
        segment(source, bags.folder / 'out', replace(options, **values))
    assert [path.name for path in bags.folder.iterdir()] == ['drive']


def test_a_definition_that_lacks_its_parts_is_copied(
    bags: BagFolder, options: SegmentOptions
) -> None:
    source = bags.write(drive(2))
    (file,) = source.glob('*.mcap')
    file.write_bytes(file.read_bytes().replace(b'string data', b'Strang data'))
    segment(source, bags.folder / 'out', options)
    assert [m for m in contents(bags.folder / 'out') if not m[0].startswith(NODE)] == drive(2)


def test_sqlite_files_are_refused_where_they_would_get_another_name(
    bags: BagFolder, options: SegmentOptions
) -> None:
    source = bags.write(drive(2))
    for name, reason in (('50%25', 'has one of'), ('a#b', 'has one of'), (180 * 'n', 'shorter')):
        with pytest.raises(BagError, match=reason):
            segment(source, bags.folder / name, replace(options, storage='sqlite3'))


def test_memory_stays_within_bounds_with_large_images(bags: BagFolder, command: Start) -> None:
    size = (1080, 1920)
    source = bags.write(
        [('/image', IMAGE, START + i * PERIOD, image(i, START, size=size)) for i in range(10)]
    )
    process = command(source, '-o', bags.folder / 'out', file_frames=0)
    peak = 0.0
    while process.poll() is None:
        # a process that has just ended tells nothing
        with suppress(ProcessMemoryError):
            peak = max(peak, process_memory(Path(f'/proc/{process.pid}/status')).peak_mb)
        time.sleep(0.005)
    assert process.returncode == 0
    assert 100 < peak < 600


def test_the_rest_of_a_damaged_bag_is_labelled_and_the_loss_is_reported(
    bags: BagFolder, exported: Path, lemore: Any
) -> None:
    messages = [
        ('/image', IMAGE, START + i * PERIOD, image(i, START, size=(240, 320))) for i in range(16)
    ]
    source, output = bags.write(messages), bags.folder / 'out'
    (file,) = source.glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 5])
    model = ['--model', exported, '--backend', 'onnxruntime', '--device', 'cpu']
    done = lemore('bag', 'segment', source, '-o', output, *model)
    assert done.fails('is damaged', status=3)
    kept = [m for m in contents(output) if not m[0].startswith(NODE)]
    assert 3 < len(kept) < len(messages)
    assert kept == messages[: len(kept)]
