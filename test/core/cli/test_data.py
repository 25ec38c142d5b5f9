from __future__ import annotations

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
    assert heads == ['train: 1 image, 4x1 pixels', 'val: 1 image, 4x1 pixels']
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
    # a missing split does not hide the other
    assert main([*command, '--split', 'test', '--split', 'val']) == 1
    captured = capsys.readouterr()
    assert 'error: test: there is no folder' in captured.err
    assert 'lemore data: 2 errors in test, val' in captured.err
    assert 'val: 1 image' in captured.out


def test_own_images_are_divided_by_drives(tmp_path: Path, capsys: Output) -> None:
    drives = ('a_1', 'a_2', 'a_3', 'b_1', 'b_2', 'c_1')
    write_pairs(tmp_path, *(f'deep/{name}' for name in drives))
    mine = tmp_path / 'mine'
    command = ['data', 'split', str(tmp_path / 'images'), str(tmp_path / 'masks')]
    command += ['--classes', str(tmp_path / 'classes.yaml'), '-o', str(mine)]
    assert main([*command, '--hold-out', 'z']) == 1
    assert 'z cannot be held out: the drives are a, b, c' in capsys.readouterr().err
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == ['train  a', 'val    b, c']
    names = sorted(path.name for path in (mine / 'masks' / 'val' / 'deep').iterdir())
    assert names == ['b_1.png', 'b_2.png', 'c_1.png']
    assert main(['data', 'check', '--dataset', 'folder', '--data', str(mine)]) == 0
    assert main(command) == 1
    assert 'exists already' in capsys.readouterr().err
    (tmp_path / 'masks' / 'deep' / 'a_2.png').unlink()
    assert main([*command[:-1], str(tmp_path / 'other')]) == 1
    assert 'a_2.png has no mask' in capsys.readouterr().err
