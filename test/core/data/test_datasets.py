from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lemore_core.data.datasets import DATASETS, open_dataset
from lemore_core.data.samples import DataError
from lemore_core.taxonomy import TaxonomyError

Put = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path, put: Put, put_image: Put) -> Path:
    """A tree of CamVid's layout with one pair."""
    put_image('val/a.png', 4, 6)
    put('valannot/a.png', [[0, 3, 10, 11, 0, 0]] * 4)
    return tmp_path


def test_a_pair_is_read_as_rgb_and_ids(root: Path) -> None:
    (sample,) = open_dataset('camvid', root).samples('val')
    assert sample.read_image()[0, 0].tolist() == [250, 0, 0]
    assert sample.read_mask()[0].tolist() == [0, 3, 10, 255, 0, 0]


def test_a_wrong_layout_is_named(root: Path) -> None:
    dataset = open_dataset('camvid', root)
    with pytest.raises(DataError, match=r'no folder .*train: CamVid needs train/ and trainannot/'):
        dataset.samples('train')
    (root / 'valannot' / 'a.png').unlink()
    with pytest.raises(DataError, match=r'a\.png has no mask'):
        dataset.samples('val')
    (root / 'val' / 'a.png').unlink()
    with pytest.raises(DataError, match='holds no images'):
        dataset.samples('val')


def test_a_mask_without_an_image_is_named(root: Path, put: Put) -> None:
    put('valannot/b.png', [[0]])
    put('valannot/c.png', [[0]])
    dataset = open_dataset('camvid', root)
    assert [sample.mask.name for sample in dataset.listing('val')] == ['a.png', 'b.png', 'c.png']
    with pytest.raises(DataError, match=r'no image .*b\.png for the mask .*b\.png, and 1 more'):
        dataset.samples('val')


def test_hidden_files_and_notes_are_no_images(root: Path) -> None:
    for name in ('val/._a.png', 'val/notes.txt', 'valannot/.DS_Store'):
        (root / name).write_bytes(b'x')
    assert len(open_dataset('camvid', root).samples('val')) == 1


def test_bad_files_are_named(root: Path, put: Put) -> None:
    (sample,) = open_dataset('camvid', root).samples('val')
    put('valannot/a.png', [[77] * 6] * 4)
    with pytest.raises(DataError, match=r'a\.png: the mask holds ids \[77\], unknown to .camvid'):
        sample.read_mask()
    put('valannot/a.png', [[(0, 0, 0)]])
    with pytest.raises(DataError, match='one-channel'):
        sample.read_mask()
    sample.image.write_bytes(b'not an image')
    with pytest.raises(DataError, match='no readable image'):
        sample.read_image()


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


def test_an_unknown_name_or_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'mars'.*ade20k.*cityscapes.*folder"):
        open_dataset('mars', tmp_path)
    with pytest.raises(DataError, match='there is no folder'):
        open_dataset('camvid', tmp_path / 'gone')
