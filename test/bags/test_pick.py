"""Frames are picked from bags, and come back with the labels of a person."""

from __future__ import annotations

import csv
import json
import math
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lemore_core.data.annotation import KINDS
from lemore_core.data.datasets import open_dataset
from lemore_core.pick import Seen, choose
from lemore_core.segmenter import Segmenter
from lemore_core.sources import Source
from lemore_ros.bags.cli.pick import FORMATS
from test.bags.conftest import IMAGE, PERIOD, START, BagFolder, drive, image, labels_of

MODEL = ['--backend', 'onnxruntime', '--device', 'cpu']
DRIVES = [Source(name, name, lambda _: iter(()), results=()) for name in 'ab']


def seen(*rows: tuple[int, float, float, float]) -> list[Seen]:
    """Give frames of drive, seconds, familiarity and sureness, each of another grey."""
    return [
        Seen(DRIVES[drive], number, at, known, sure, np.full((12, 16), 8.0 * number, np.float32))
        for number, (drive, at, known, sure) in enumerate(rows)
    ]


NAN = math.nan


@pytest.mark.parametrize(
    ('rows', 'number', 'expected'),
    [
        # the least sure, but never two of one moment
        ([(0, 0, NAN, 0.9), (0, 1, NAN, 0.3), (0, 2, NAN, 0.2), (0, 9, NAN, 0.8)], 2, [2, 3]),
        # one is unfamiliar and sure, the other unsure and familiar
        ([(0, 0, 0.9, 0.5), (0, 9, 0.0, 0.9), (0, 18, 0.8, 0.1), (0, 27, 0.5, 0.6)], 2, [1, 2]),
        # of each drive in turn, though all of b are worse
        ([(0, 0, NAN, 0.9), (0, 9, NAN, 0.8), (1, 0, NAN, 0.1), (1, 9, NAN, 0.2)], 2, [1, 2]),
        # less than wanted where the rest is of the same moments
        ([(0, 0, NAN, 0.9), (0, 1, NAN, 0.3)], 9, [1]),
    ],
)
def test_the_frames_worth_a_persons_time(
    rows: list[tuple[int, float, float, float]], number: int, expected: list[int]
) -> None:
    assert sorted(one.number for one in choose(seen(*rows), number, 2.0)) == expected
    still = [one._replace(small=np.zeros((12, 16), np.float32)) for one in seen(*rows)]
    # a robot that stands sees the same again, however long
    assert len(choose(still, number, 2.0)) == len({rows[i][0] for i in expected})


@pytest.fixture
def two_drives(bags: BagFolder) -> list[Path]:
    later = [(t, k, ns + 600 * 10**9, d) for t, k, ns, d in drive(9)]
    return [bags.write(drive(9), 'mon.day_1'), bags.write(later, 'tuesday')]


@pytest.fixture
def picked(two_drives: list[Path], exported: Path, tmp_path: Path, lemore: Any) -> Path:
    output = tmp_path / 'picked'
    command = ['bag', 'pick', *map(str, two_drives), '--model', str(exported), *MODEL]
    command += ['-n', '5', '--apart', '0.2', '--format', 'labelme', '-o', str(output)]
    assert lemore(*command).status == 0
    return output


def test_picked_frames_are_a_data_set_and_ground_truth_of_their_bags(
    picked: Path, two_drives: list[Path], exported: Path, lemore: Any
) -> None:
    dataset = open_dataset('folder', picked)
    samples = dataset.samples('train')
    names = [sample.image.stem.split('_') for sample in samples]
    assert sorted(drive for drive, *_ in names) == ['mon-day-1'] * 3 + ['tuesday'] * 2
    stamps = sorted(int(sec + ns) for drive, sec, ns in names if drive == 'mon-day-1')
    assert np.diff(stamps).min() >= 2 * PERIOD
    with closing(Segmenter.load(exported, backend='onnxruntime', device='cpu')) as segmenter:
        for sample in samples:
            image, mask = sample.read_pair()
            assert np.array_equal(mask, segmenter.segment(image).labels)
    rows = (picked / 'picked.csv').read_text().splitlines()
    assert len(rows) == 6
    truth = ['--ground-truth', str(picked / 'masks' / 'train')]
    command = ['bag', 'evaluate', str(two_drives[0]), '--model', str(exported), *MODEL, *truth]
    values = lemore(*command, '--json').json()
    assert (values['frames_with_ground_truth'], values['pixel_accuracy']) == (3, 1.0)


def test_corrected_masks_become_ground_truth_of_the_bag(
    picked: Path, two_drives: list[Path], exported: Path, tmp_path: Path, lemore: Any
) -> None:
    back, folder, bag = tmp_path / 'back', picked / 'images' / 'train', two_drives[0]
    for file in folder.glob('mon*.json'):
        values = json.loads(file.read_text())
        values['shapes'] = [{'label': 'car', 'points': [[0, 0], [63, 0], [63, 47], [0, 47]]}]
        file.write_text(json.dumps(values))
    command = ['data', 'import', str(folder), '--data', str(picked), '-o', str(back)]
    # a bag without frames costs itself
    into = [word for one in (tmp_path / 'other', bag) for word in ('--into-bag', str(one))]
    assert lemore(*command, *into).fails('has no mask of a frame of', status=1)
    truth = back / 'mon.day_1_ground_truth'
    labels = labels_of(truth, '/ground_truth/labels')
    assert len(labels) == 3
    assert {int(one) for image in labels.values() for one in np.unique(image)} == {8}
    command = ['bag', 'evaluate', str(bag), '--model', str(exported), *MODEL, '--json']
    assert lemore(*command, '--ground-truth', truth).json()['frames_with_ground_truth'] == 3
    command = ['bag', 'truth', str(bag), '--data', str(picked), '-o']
    mask = next(picked.glob('masks/train/mon*'))
    mask.write_bytes(mask.read_bytes()[:60])
    assert lemore(*command, tmp_path / 'rest').fails(f'{mask} is no readable image', status=3)
    assert len(labels_of(tmp_path / 'rest', '/ground_truth/labels')) == 2
    assert lemore(*command, truth).fails('exists already')
    other = bag.rename(tmp_path / 'sunday')
    assert lemore(*command[:2], other, *command[3:], tmp_path / 'new').fails(
        'has no mask of a frame of'
    )


def test_what_cannot_be_picked_is_said(
    picked: Path,
    two_drives: list[Path],
    exported: Path,
    tmp_path: Path,
    lemore: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ['bag', 'pick', '--model', str(exported), *MODEL, '-o']
    assert lemore(*command, picked, two_drives[0]).fails('picked exists already')
    monkeypatch.setitem(sys.modules, 'datumaro', None)
    assert lemore(*command, tmp_path / 'new', 'none.bag', '--format', 'coco').fails(
        'this needs the package datumaro: pip install datumaro'
    )
    assert tuple(KINDS) == FORMATS
    others = 'the others show the same, or are less than 2 s from these'
    done = lemore(*command, tmp_path / 'all', two_drives[0])
    assert done.says('picked by confidence alone', others)


def test_frames_of_one_stamp_are_all_kept(
    bags: BagFolder, exported: Path, tmp_path: Path, lemore: Any
) -> None:
    topic = '/camera/image_raw'
    frames = [(topic, IMAGE, START + i * PERIOD, image(i, START)) for i in range(3)]
    command = ['bag', 'pick', str(bags.write(frames)), '--model', str(exported), *MODEL]
    assert lemore(*command, '--apart', '0', '-o', tmp_path / 'picked').status == 0
    assert len([*(tmp_path / 'picked').glob('images/train/drive_17*_000000000*.png')]) == 3


def test_masks_of_cameras_with_the_same_stamps_are_truth_of_their_own(
    bags: BagFolder, exported: Path, tmp_path: Path, lemore: Any
) -> None:
    topics = '/front/image_raw', '/front/left_side/image', '/rear/image_raw'
    frames = [
        (topic, IMAGE, START + i * PERIOD, image(10 * camera + i, START + i * PERIOD))
        for i in range(3)
        for camera, topic in enumerate(topics)
    ]
    bag, data, truth = bags.write(frames), tmp_path / 'picked', tmp_path / 'truth'
    model = ['--model', exported, *MODEL]
    assert lemore('bag', 'pick', bag, *model, '--apart', '0', '-o', data).status == 0
    masks = data / 'masks' / 'train'
    for file in data.rglob('drive_rear_*'):
        file.unlink()
    names = sorted(mask.name.rpartition('_17')[0] for mask in masks.iterdir())
    assert names == ['drive_front'] * 3 + ['drive_front--left-side'] * 3
    command = ['bag', 'truth', bag, '--data', data, '-o']
    assert lemore(*command, truth).status == 0
    for given, nothing in ((truth, 'it is empty'), (masks, 'holds no masks (.png) of /rear/')):
        options = ['--ground-truth', given, '--json']
        measured = [lemore('bag', 'evaluate', bag, *model, '--topic', t, *options) for t in topics]
        for values in (done.json() for done in measured[:2]):
            assert (values['frames_with_ground_truth'], values['pixel_accuracy']) == (3, 1)
        assert measured[2].fails(nothing)
    # as they were called, without a camera
    for file in data.rglob('drive_front_*'):
        file.rename(file.with_name(file.name.replace('_front', '')))
    cameras = 'CAMERA being one of front, front--left-side, rear'
    assert lemore(*command, tmp_path / 'rest').fails(cameras, status=3)


def test_image_files_keep_their_names_and_familiarity_counts_where_it_is_known(
    picked: Path, tmp_path: Path, lemore: Any
) -> None:
    photos, again = picked / 'images' / 'train', tmp_path / 'again'
    done = lemore('bag', 'pick', photos, '--model', 'nano', *MODEL, '-o', again)
    assert done.says('again: 5 of 5 images, of 2 drives')
    for photo in photos.glob('*.png'):
        assert (again / 'images' / 'train' / photo.name).is_file()
    # noise is nothing that CamVid shows
    _, *rows = csv.reader((again / 'picked.csv').read_text().splitlines())
    assert all(float(familiarity) < 0.05 < float(sureness) for *_, familiarity, sureness in rows)
    assert 'by confidence alone' not in done.out.partition('again: ')[2]
