from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from lemore_core.cli.main import main

MASK = np.array([[0, 1, 1, 1]], np.uint8)
CLASSES = """
name: rows
classes: [{name: row, color: [1, 2, 3]}, {name: gap, color: [4, 5, 6]}]
"""
Names = dict[str, list[str]]
Split = Callable[..., tuple[int, Names]]
Output = pytest.CaptureFixture[str]


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


def test_a_sound_data_set(root: Path, capsys: Output) -> None:
    assert main(['data', 'check', '--dataset', 'folder', '--data', str(root)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    heads = [line for line in lines if ':' in line]
    assert heads == [
        'train: 1 image, 4x1 pixels',
        'val: 1 image, 4x1 pixels',
        '2 drives: the folders',
    ]
    assert [line.split() for line in lines[2:5]] == [
        ['0', '25.000%', '1', 'row'],
        ['1', '75.000%', '1', 'gap'],
        ['0.000%', 'unlabelled'],
    ]
    assert 'error' not in captured.err


def test_errors_are_listed_and_make_the_status(root: Path, capsys: Output) -> None:
    cv2.imwrite(str(root / 'masks' / 'val' / 'a.png'), MASK * 9)
    (root / 'masks' / 'train' / 'a.png').unlink()
    command = ['data', 'check', '--dataset', 'folder', '--data', str(root)]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert f'error: {root}/images/train/a.png has no mask' in error
    assert f'error: {root}/masks/val/a.png: the mask holds ids [9]' in error
    assert 'warning: no mask has the classes row, gap' in error
    assert error.endswith('lemore data: 2 errors in train, val\n')
    assert main(['data', 'check', '--dataset', 'mars', '--data', '.']) == 1
    assert "no data set is called 'mars'" in capsys.readouterr().err
    cv2.imwrite(str(root / 'masks' / 'val' / 'a.png'), MASK * 0)
    assert main([*command, '--split', 'val']) == 1
    assert 'val has pixels of row alone' in capsys.readouterr().err
    cv2.imwrite(str(root / 'masks' / 'val' / 'a.png'), MASK * 9)
    # a missing split does not hide the other
    assert main([*command, '--split', 'test', '--split', 'val']) == 1
    captured = capsys.readouterr()
    assert 'error: test: there is no folder' in captured.err
    assert 'lemore data: 2 errors in test, val' in captured.err
    assert 'val: 1 image' in captured.out


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Divide what write_pairs wrote; return the exit status and the names of images by split."""

    def run(*options: str, images: str = 'images', masks: str = 'masks') -> tuple[int, Names]:
        folders = [str(tmp_path / images), str(tmp_path / masks)]
        table = ['--classes', str(tmp_path / 'classes.yaml')]
        status = main(['data', 'split', *folders, *table, '-o', str(tmp_path / 'mine'), *options])
        found: Names = {}
        for path in sorted((tmp_path / 'mine' / 'images').rglob('*.*')):
            part, *rest = path.relative_to(tmp_path / 'mine' / 'images').parts
            found.setdefault(part, []).append('/'.join(rest))
        assert not list(tmp_path.glob('.*'))
        return status, found

    return run


def test_own_images_are_divided_by_drives(tmp_path: Path, split: Split, capsys: Output) -> None:
    drives = ('a_1', 'a_2', 'a_3', 'b_1', 'b_2', 'c_1')
    write_pairs(tmp_path, *(f'deep/{name}' for name in drives))
    assert split('--hold-out', 'z') == (1, {})
    error = capsys.readouterr().err
    assert 'z cannot be held out: the drives are a, b, c' in error
    status, found = split()
    assert (status, found['val']) == (0, ['deep/b_1.png', 'deep/b_2.png', 'deep/c_1.png'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '3 drives: the beginnings of the names up to "_"'
    assert lines[1:] == ['train  3 images of a', 'val    3 images of b, c']
    mine = str(tmp_path / 'mine')
    assert main(['data', 'check', '--dataset', 'folder', '--data', mine]) == 0
    assert split()[0] == 1
    assert 'exists already' in capsys.readouterr().err


def test_files_without_a_partner_are_named_and_left_out(
    tmp_path: Path, split: Split, capsys: Output
) -> None:
    write_pairs(tmp_path, *(f'a_{n}' for n in range(4)))
    masks = tmp_path / 'masks'
    (tmp_path / 'images' / 'a_1.png').rename(tmp_path / 'images' / 'a_1.HEIC')
    with pytest.raises(SystemExit) as left_out:
        split()
    assert left_out.value.code == 3
    error = capsys.readouterr().err.splitlines()
    assert error[0] == '1 file without a partner left out:'
    assert error[1].endswith('a_1.png: a_1.HEIC is not read, convert it to .png or .jpg')
    assert sorted(one.name for one in (tmp_path / 'mine').rglob('*.png')) == [
        *('a_0.png', 'a_0.png', 'a_2.png', 'a_2.png', 'a_3.png', 'a_3.png')
    ]
    shutil.rmtree(tmp_path / 'mine')
    for name in ('a_0', 'a_2', 'a_3'):
        (masks / f'{name}.png').rename(masks / f'{name}_mask.png')
    assert split() == (1, {})
    error = capsys.readouterr().err
    assert 'a_0.png: there is a_0_mask.png, see lemore data split --mask-suffix (7 such' in error
    assert split(masks='nothing') == (1, {})
    assert f'there is no folder {tmp_path}/nothing' in capsys.readouterr().err


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
    tmp_path: Path, split: Split, names: list[str], val: list[str], line: str, capsys: Output
) -> None:
    write_pairs(tmp_path, *names)
    status, found = split()
    assert (status, found['val']) == (0, val)
    assert set(found['train']).isdisjoint(val)
    assert len({name for part in found.values() for name in part}) == len(names)
    assert line in capsys.readouterr().out


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
    assert split(*suffixes, masks=masks) == (0, {'train': ['a.png'], 'val': ['b.png']})
    assert (tmp_path / 'mine' / 'masks' / 'val' / 'b.png').is_file()


def test_a_failed_copy_leaves_no_data_set(
    tmp_path: Path, split: Split, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    write_pairs(tmp_path, *(f'{d}/{n}' for d in 'ab' for n in range(3)))
    (tmp_path / '.mine.part' / 'made').mkdir(parents=True)  # of a run that was killed
    (tmp_path / '.mine.part' / 'made' / 'half.png').touch()
    monkeypatch.setattr(
        'shutil.copyfile', lambda *_: os.write(os.open('/dev/full', os.O_WRONLY), b'x')
    )
    assert split() == (1, {})
    assert 'No space left' in capsys.readouterr().err
    monkeypatch.undo()
    status, found = split()
    assert (status, len(found['train'])) == (0, 3)
    assert not list((tmp_path / 'mine').rglob('half.png'))
