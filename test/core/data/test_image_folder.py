from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lemore_core.data.errors import DataError
from lemore_core.data.image_folder import open_image_folder, require_readable


def draw(root: Path, *names: str) -> Path:
    """Draw images whose brightness is their number."""
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), np.full((6, 8, 3), 10 * i, np.uint8))
    return root


def test_classes_are_the_folders_in_their_order(tmp_path: Path) -> None:
    draw(
        tmp_path,
        'train/dog/b.png',
        'train/cat/x.png',
        'train/dog/a.png',
        'val/dog/c.png',
        'train/.cache/d.png',
    )
    (tmp_path / 'train' / 'cat' / 'notes.txt').write_text('no image')
    folder = open_image_folder(tmp_path)
    assert folder.classes == ('cat', 'dog')
    assert folder.train.names == ('cat/x.png', 'dog/a.png', 'dog/b.png')
    assert folder.train.labels.tolist() == [0, 1, 1]
    assert folder.val.labels.tolist() == [1]
    assert (folder.train.read(1) == 20).all()
    assert folder.train.share(1, 2).names == ('dog/a.png',)
    assert folder.train.share(1, 2).labels.tolist() == [1]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'there is no folder .*train: images must lie in'):
        open_image_folder(tmp_path)
    draw(tmp_path, 'train/cat/a.png')
    with pytest.raises(DataError, match='has 1 class folders'):
        open_image_folder(tmp_path)
    draw(tmp_path, 'train/dog/a.png')
    with pytest.raises(DataError, match=r'there is no folder .*val'):
        open_image_folder(tmp_path)
    (tmp_path / 'val' / 'dog').mkdir(parents=True)
    with pytest.raises(DataError, match='val has no images'):
        open_image_folder(tmp_path)
    draw(tmp_path, 'val/dog/a.png')
    assert open_image_folder(tmp_path).val.names == ('dog/a.png',)
    draw(tmp_path, 'val/fox/a.png')
    with pytest.raises(DataError, match='val has classes that train lacks: fox'):
        open_image_folder(tmp_path)
    (tmp_path / 'train' / 'fox').mkdir()
    with pytest.raises(DataError, match='train has no images of fox'):
        open_image_folder(tmp_path)


def test_all_unreadable_images_are_named(tmp_path: Path) -> None:
    names = [f'{split}/{name}/{i}.png' for split in ('train', 'val') for name in 'ab' for i in '01']
    train = open_image_folder(draw(tmp_path, *names)).train
    counted: list[int] = []
    require_readable(train, counted.append)
    assert sum(counted) == 4
    (tmp_path / 'train/a/1.png').write_bytes(b'')
    content = (tmp_path / 'train/b/0.png').read_bytes()
    (tmp_path / 'train/b/0.png').write_bytes(content[: len(content) // 2])
    with pytest.raises(
        DataError, match=r'a/1\.png is empty; .*b/0\.png is no readable image: .*cut short'
    ):
        require_readable(train)
