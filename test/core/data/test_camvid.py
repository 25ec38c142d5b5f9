from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lemore_core.data.camvid import DataError, list_samples
from lemore_core.taxonomy import load_taxonomy

CAMVID = load_taxonomy('camvid')


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of CamVid's layout with one pair."""
    (tmp_path / 'val').mkdir()
    (tmp_path / 'valannot').mkdir()
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 2] = 250  # red, in OpenCV's order
    cv2.imwrite(str(tmp_path / 'val' / 'a.png'), image)
    cv2.imwrite(
        str(tmp_path / 'valannot' / 'a.png'), np.array([[0, 3, 10, 11, 0, 0]] * 4, np.uint8)
    )
    return tmp_path


def test_a_pair_is_read_as_rgb_and_ids(root: Path) -> None:
    (sample,) = list_samples(root, 'val')
    assert sample.read_image()[0, 0].tolist() == [250, 0, 0]
    assert sample.read_mask(CAMVID)[0].tolist() == [0, 3, 10, 255, 0, 0]


def test_a_wrong_layout_is_named(root: Path) -> None:
    with pytest.raises(DataError, match=r'no folder .*train'):
        list_samples(root, 'train')
    (root / 'valannot' / 'a.png').unlink()
    with pytest.raises(DataError, match=r'a\.png has no mask'):
        list_samples(root, 'val')
    (root / 'val' / 'a.png').unlink()
    with pytest.raises(DataError, match='holds no images'):
        list_samples(root, 'val')


def test_bad_files_are_named(root: Path) -> None:
    (sample,) = list_samples(root, 'val')
    cv2.imwrite(str(sample.mask), np.full((4, 6), 77, np.uint8))
    with pytest.raises(DataError, match=r'a\.png holds ids \[77\]'):
        sample.read_mask(CAMVID)
    cv2.imwrite(str(sample.mask), np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(DataError, match='one-channel'):
        sample.read_mask(CAMVID)
    sample.image.write_bytes(b'not a picture')
    with pytest.raises(DataError, match='no readable image'):
        sample.read_image()
