from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lemore_core.cli.main import main

MASK = np.array([[0, 1, 1, 1]], np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A user's own data set with one pair in each split."""
    classes = '- {name: row, color: [1, 2, 3]}\n- {name: gap, color: [4, 5, 6]}\n'
    (tmp_path / 'classes.yaml').write_text(f'name: rows\nclasses:\n{classes}')
    for split in ('train', 'val'):
        for kind, pixels in (('images', np.zeros((1, 4, 3), np.uint8)), ('masks', MASK)):
            (tmp_path / kind / split).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / kind / split / 'a.png'), pixels)
    return tmp_path


def test_a_sound_data_set(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['data', 'check', '--dataset', 'folder', '--data', str(root)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line for line in lines if ':' in line] == [
        'train: 1 images, 4x1 pixels',
        'val: 1 images, 4x1 pixels',
    ]
    assert [line.split() for line in lines[2:5]] == [
        ['0', '25.000%', '1', 'row'],
        ['1', '75.000%', '1', 'gap'],
        ['0.000%', 'unlabelled'],
    ]
    assert 'error' not in captured.err


def test_errors_are_listed_and_make_the_status(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(root / 'masks' / 'val' / 'a.png'), MASK * 9)
    (root / 'masks' / 'train' / 'a.png').unlink()
    command = ['data', 'check', '--dataset', 'folder', '--data', str(root), '--workers', '1']
    assert main(command) == 1
    error = capsys.readouterr().err
    assert f'error: {root}/images/train/a.png has no mask' in error
    assert f'error: {root}/masks/val/a.png: the mask holds ids [9]' in error
    assert 'warning: no mask has the classes row, gap' in error
    assert error.endswith('lemore data: 2 errors in train, val\n')


def test_a_missing_split_does_not_hide_the_other(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ['data', 'check', '--dataset', 'folder', '--data', str(root)]
    assert main([*command, '--split', 'test', '--split', 'val']) == 1
    captured = capsys.readouterr()
    assert 'error: test: there is no folder' in captured.err
    assert 'lemore data: 1 error in test, val' in captured.err
    assert 'val: 1 images' in captured.out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--dataset', 'mars', '--data', '.'], "no data set is called 'mars'"),
        (['--dataset', 'camvid', '--data', 'nowhere'], 'there is no folder nowhere'),
        (['--dataset', 'camvid', '--data', '.', '--workers', '0'], '--workers is 0'),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['data', 'check', *arguments]) == 1
    assert message in capsys.readouterr().err
