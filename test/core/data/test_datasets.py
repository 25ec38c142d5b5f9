from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lemore_core.data.datasets import DATASETS, open_dataset
from lemore_core.data.readers import read_ids, read_ids_or_colors
from lemore_core.data.samples import DataError
from lemore_core.data.soft import read_soft, soft_labels, write_soft
from lemore_core.taxonomy import Taxonomy, TaxonomyError

Put = Callable[..., Path]

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
TABLE = Taxonomy('three', ('a', 'b', 'c'), (RED, GREEN, BLUE))


@pytest.fixture
def root(tmp_path: Path, put: Put, put_image: Put) -> Path:
    """A tree of CamVid's layout with one pair."""
    put_image('val/a.png', 4, 6)
    put('valannot/a.png', [[0, 3, 10, 11, 0, 0]] * 4)
    return tmp_path


def test_a_pair_is_read_as_rgb_and_ids(root: Path) -> None:
    for name in ('val/._a.png', 'val/notes.txt', 'valannot/.DS_Store'):
        (root / name).write_bytes(b'no image')
    (sample,) = open_dataset('camvid', root).samples('val')
    assert sample.read_image()[0, 0].tolist() == [250, 0, 0]
    assert sample.read_mask()[0].tolist() == [0, 3, 10, 255, 0, 0]


def test_what_lacks_its_partner_is_named(root: Path, put: Put) -> None:
    put('valannot/b.png', [[0]])
    put('valannot/c.png', [[0]])
    dataset = open_dataset('camvid', root)
    assert [sample.mask.name for sample in dataset.listing('val')] == ['a.png', 'b.png', 'c.png']
    with pytest.raises(DataError, match=r'no image .*b\.png for the mask .*b\.png, and 1 more'):
        dataset.samples('val')
    for mask in (root / 'valannot').iterdir():
        mask.unlink()
    with pytest.raises(DataError, match=r'a\.png has no mask'):
        dataset.samples('val')
    (root / 'val' / 'a.png').unlink()
    with pytest.raises(DataError, match='holds no images'):
        dataset.samples('val')


@pytest.mark.parametrize('name', [name for name in DATASETS if name != 'folder'])
def test_every_data_set_says_what_its_folder_lacks(tmp_path: Path, name: str) -> None:
    dataset = open_dataset(name, tmp_path)
    assert dataset.taxonomy.name == name
    with pytest.raises(DataError, match=rf'there is no folder {tmp_path}/.* needs .*/ '):
        dataset.samples('train')


def test_a_folder_needs_its_classes(tmp_path: Path) -> None:
    with pytest.raises(TaxonomyError, match=r'classes\.yaml cannot be read'):
        open_dataset('folder', tmp_path)
    rows = ''.join(f'- {{name: c{i}, color: [0, 0, {i % 256}]}}\n' for i in range(256))
    (tmp_path / 'classes.yaml').write_text(f'name: many\nclasses:\n{rows}')
    with pytest.raises(DataError, match='256 classes, masks hold at most 255'):
        open_dataset('folder', tmp_path)


def with_palette(path: Path, indices: list[int], colors: list[tuple[int, int, int]]) -> Path:
    image = Image.fromarray(np.array([indices], np.uint8), 'P')
    image.putpalette([value for color in colors for value in color])
    image.save(path)
    return path


def test_a_palette_does_not_replace_the_ids(tmp_path: Path) -> None:
    path = with_palette(tmp_path / 'a.png', [0, 1, 2, 1], [(9, 9, 9), (8, 8, 8), (7, 7, 7)])
    assert read_ids(path, TABLE).tolist() == [[0, 1, 2, 1]]
    assert read_ids_or_colors(path, TABLE).tolist() == [[0, 1, 2, 1]]
    with_palette(path, [0, 1, 2], [RED, GREEN, BLUE])
    assert read_ids_or_colors(path, TABLE).tolist() == [[0, 1, 2]]
    # colours reduced to a palette are not taken for ids
    with_palette(path, [0, 1, 1], [BLUE, RED, GREEN])
    with pytest.raises(DataError, match=r'a\.png has a palette of the classes'):
        read_ids_or_colors(path, TABLE)


def test_numbers_of_16_bits_and_colors_with_alpha(put: Put, tmp_path: Path) -> None:
    wide = Taxonomy('wide', ('a', 'b'), (RED, GREEN), ids=((300,), (65534,)))
    for name in ('a.png', 'b.tif'):
        assert read_ids(put(name, [[300, 65534]], np.uint16), wide).tolist() == [[0, 1]]
    with pytest.raises(TaxonomyError, match=r'ids \[0\]'):
        read_ids(put('a.png', [[0, 300, 65534]], np.uint16), wide)
    cv2.imwrite(str(tmp_path / 'b.png'), np.array([[(255, 0, 0, 0)]], np.uint8))
    assert read_ids_or_colors(tmp_path / 'b.png', TABLE).tolist() == [[2]]


def test_what_is_no_mask_is_named(tmp_path: Path, put: Put) -> None:
    path = tmp_path / 'a.png'
    with pytest.raises(DataError, match=r'a\.png is no readable image: .*No such file'):
        read_ids(path, TABLE)
    path.write_bytes(b'no image')
    with pytest.raises(DataError, match=r'a\.png is no readable image: .*cannot identify'):
        read_ids(path, TABLE)
    with_palette(path, [0, 1, 2] * 90, [RED, GREEN, BLUE])
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r'a\.png is no readable image'):
        read_ids(path, TABLE)
    with pytest.raises(DataError, match='one-channel'):
        read_ids(put('a.png', [[(0, 0, 0)]]), TABLE)


def test_soft_labels_are_read_whole_and_of_the_tables_classes(tmp_path: Path) -> None:
    path = tmp_path / 'a.npz'
    soft = np.array([[[[2, 0]], [[1, 1]]], [[[200, 0]], [[50, 0]]]], np.uint8)
    write_soft(path, soft)
    assert np.array_equal(read_soft(path, 3), soft)
    with pytest.raises(DataError, match=r'a\.npz holds no soft labels: .* of 2 classes'):
        read_soft(path, 2)
    whole = path.read_bytes()
    for content in (whole[:-30], b'PK', b''):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r'a\.npz holds no soft labels'):
            read_soft(path, 3)
    np.savez(path, classes=np.array(['x'], object), probabilities=soft[1])
    with pytest.raises(DataError, match='holds no soft labels'):
        read_soft(path, 3)


def test_places_of_no_class_have_no_probability() -> None:
    probabilities = np.array([[[0.1, 0.6, 0.3], [0.3, 0.2, 0.5]]], np.float32)
    soft = soft_labels(probabilities)
    assert soft[:, :, 0].tolist() == [[[1, 0], [0, 1]], [[153, 0], [26, 0]]]
