from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

MASK = np.array([[0, 1, 1, 1]], np.uint8)
CLASSES = """
name: rows
classes: [{name: row, color: [1, 2, 3]}, {name: gap, color: [4, 5, 6]}]
"""
Names = dict[str, list[str]]
Split = Callable[..., tuple[Any, Names]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A user's own data set with one pair in each split."""
    return write_pairs(tmp_path, 'train/a', 'val/a')


def write_pairs(root: Path, *names: str) -> Path:
    (root / 'classes.yaml').write_text(CLASSES)
    for name in names:
        for kind, pixels in (('images', np.zeros((1, 4, 3), np.uint8)), ('masks', MASK)):
            path = root / kind / f'{name}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)
    return root


def test_a_sound_data_set(root: Path, lemore: Any) -> None:
    status, out, err = lemore('data', 'check', '--dataset', 'folder', '--data', root)
    lines = out.splitlines()
    assert (status, 'error' in err) == (0, False)
    assert [line for line in lines if ':' in line] == [
        'train: 1 image, 4x1 pixels',
        'val: 1 image, 4x1 pixels',
        '2 drives: the folders',
    ]
    assert [line.split() for line in lines[2:5]] == [
        ['0', '25.000%', '1', 'row'],
        ['1', '75.000%', '1', 'gap'],
        ['0.000%', 'unlabelled'],
    ]


def test_errors_are_listed_and_make_the_status(root: Path, lemore: Any) -> None:
    cv2.imwrite(str(root / 'masks' / 'val' / 'a.png'), MASK * 9)
    (root / 'masks' / 'train' / 'a.png').unlink()
    command = ['data', 'check', '--dataset', 'folder', '--data', root]
    done = lemore(*command)
    assert done.fails(
        f'error: {root}/images/train/a.png has no mask',
        f'error: {root}/masks/val/a.png: the mask holds ids [9]',
        'warning: no mask has the classes row, gap',
    )
    assert done.err.endswith('lemore data: 2 errors in train, val\n')
    # a missing split does not hide the other
    done = lemore(*command, '--split', 'test', '--split', 'val')
    assert done.fails('error: test: there is no folder', 'lemore data: 2 errors in test, val')
    assert 'val: 1 image' in done.out
    command[3] = 'mars'
    assert lemore(*command).fails("no data set is called 'mars'")
    command[3] = 'folder'
    cv2.imwrite(str(root / 'masks' / 'val' / 'a.png'), MASK * 0)
    assert lemore(*command, '--split', 'val').fails('val has pixels of row alone')


def test_a_split_that_leaks_is_a_warning(tmp_path: Path, lemore: Any) -> None:
    write_pairs(tmp_path, 'train/a_1', 'train/b_1', 'val/a_2')
    done = lemore('data', 'check', '--dataset', 'folder', '--data', tmp_path)
    assert done.status == 0
    assert '1 image of val from drives that train has too: a; hold' in done.err


@pytest.fixture
def split(tmp_path: Path, lemore: Any) -> Split:
    """Divide what write_pairs wrote; return what came of it and the names of images by split."""

    def run(*options: str, masks: str = 'masks') -> tuple[Any, Names]:
        command = ['data', 'split', tmp_path / 'images', tmp_path / masks]
        command += ['--classes', tmp_path / 'classes.yaml', '-o', tmp_path / 'mine']
        done = lemore(*command, *options)
        found: Names = {}
        for path in sorted((tmp_path / 'mine' / 'images').rglob('*.*')):
            part, *rest = path.relative_to(tmp_path / 'mine' / 'images').parts
            found.setdefault(part, []).append('/'.join(rest))
        assert not list(tmp_path.glob('.*'))
        return done, found

    return run


def test_own_images_are_divided_by_drives(tmp_path: Path, split: Split, lemore: Any) -> None:
    drives = ('a_1', 'a_2', 'a_3', 'b_1', 'b_2', 'c_1')
    write_pairs(tmp_path, *(f'deep/{name}' for name in drives))
    done, found = split('--hold-out', 'z')
    assert done.fails('z cannot be held out: the drives are a, b, c')
    assert not found
    done, found = split()
    assert (done.status, found['val']) == (0, ['deep/b_1.png', 'deep/b_2.png', 'deep/c_1.png'])
    lines = done.out.splitlines()
    assert lines[0] == '3 drives: the beginnings of the names up to "_"'
    assert lines[1:] == ['train  3 images of a', 'val    3 images of b, c']
    assert lemore('data', 'check', '--dataset', 'folder', '--data', tmp_path / 'mine').status == 0
    assert split()[0].fails('exists already')


def test_files_without_a_partner_are_named_and_left_out(tmp_path: Path, split: Split) -> None:
    write_pairs(tmp_path, *(f'a_{n}' for n in range(4)))
    masks = tmp_path / 'masks'
    (tmp_path / 'images' / 'a_1.png').rename(tmp_path / 'images' / 'a_1.HEIC')
    done, _ = split()
    error = done.err.splitlines()
    assert (done.status, error[0]) == (3, '1 file without a partner left out:')
    assert error[1].endswith('a_1.png: a_1.HEIC is not read, convert it to .png or .jpg')
    assert sorted(one.name for one in (tmp_path / 'mine').rglob('*.png')) == [
        *('a_0.png', 'a_0.png', 'a_2.png', 'a_2.png', 'a_3.png', 'a_3.png')
    ]
    shutil.rmtree(tmp_path / 'mine')
    for name in ('a_0', 'a_2', 'a_3'):
        (masks / f'{name}.png').rename(masks / f'{name}_mask.png')
    hint = 'a_0.png: there is a_0_mask.png, see lemore data split --mask-suffix (7 such'
    for folder, said in (('masks', hint), ('nothing', f'there is no folder {tmp_path}/nothing')):
        done, found = split(masks=folder)
        assert done.fails(said)
        assert not found


@pytest.mark.parametrize(
    ('names', 'val', 'line'),
    [
        ([f'IMG_{n}' for n in range(96, 106)], ['IMG_104.png', 'IMG_105.png'], 'one drive alone'),
        ([f'photo ({n})' for n in range(5)], ['photo (4).png'], 'images: val is its end'),
        (
            [f'{d}/{n}' for d in 'ab' for n in range(3)],
            ['b/0.png', 'b/1.png', 'b/2.png'],
            'folders',
        ),
        ([f'{n % 2}/{n}_x' for n in range(6)], ['1/1_x.png', '1/3_x.png', '1/5_x.png'], 'folders'),
        (
            [f'{d}/{d}' for d in range(25)],
            [f'{d}/{d}.png' for d in (5, 6, 7, 8, 9)],
            'for each image',
        ),
        ([f'training/{d}/1' for d in 'abc'] + ['valid/d/1', 'test/e/1'], ['d/1.png'], 'as given'),
    ],
)
def test_any_folder_of_photos_is_divided(
    tmp_path: Path, split: Split, names: list[str], val: list[str], line: str
) -> None:
    write_pairs(tmp_path, *names)
    done, found = split()
    assert (done.status, found['val']) == (0, val)
    assert set(found['train']).isdisjoint(val)
    assert len({name for part in found.values() for name in part}) == len(names)
    assert line in done.out


@pytest.mark.parametrize('masks', ['masks', 'images'])
@pytest.mark.parametrize('end', ['', '.png', '.PNG'])
def test_names_of_images_and_masks_may_end_otherwise(
    tmp_path: Path, split: Split, masks: str, end: str
) -> None:
    write_pairs(tmp_path, 'train/a_image', 'val/b_image')
    for path in (tmp_path / 'masks').rglob('*.png'):
        target = tmp_path / masks / path.relative_to(tmp_path / 'masks')
        name = target.name.replace('_image.png', '_label.PNG')
        path.rename(target.with_name(name if masks == 'images' else name.capitalize()))
    suffixes = ['--image-suffix', f'_image{end}', '--mask-suffix', f'_label{end}']
    done, found = split(*suffixes, masks=masks)
    assert (done.status, found) == (0, {'train': ['a.png'], 'val': ['b.png']})
    assert (tmp_path / 'mine' / 'masks' / 'val' / 'b.png').is_file()


def test_a_failed_copy_leaves_no_data_set(
    tmp_path: Path, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pairs(tmp_path, *(f'{d}/{n}' for d in 'ab' for n in range(3)))
    (tmp_path / '.mine.part' / 'made').mkdir(parents=True)  # of a run that was killed
    (tmp_path / '.mine.part' / 'made' / 'half.png').touch()
    monkeypatch.setattr(
        'shutil.copyfile', lambda *_: os.write(os.open('/dev/full', os.O_WRONLY), b'x')
    )
    done, found = split()
    assert done.fails('No space left')
    assert not found
    monkeypatch.undo()
    done, found = split()
    assert (done.status, len(found['train'])) == (0, 3)
    assert not list((tmp_path / 'mine').rglob('half.png'))
