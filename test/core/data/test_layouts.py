from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lemore_core.data.datasets import open_dataset
from lemore_core.data.samples import DataError

Put = Callable[..., Path]


def test_ade20k_counts_from_one_and_leaves_zero_unlabelled(
    tmp_path: Path, put: Put, put_image: Put
) -> None:
    top = 'ADEChallengeData2016'
    for folder, name in (('training', 'ADE_train_00000001'), ('validation', 'ADE_val_00000001')):
        put_image(f'{top}/images/{folder}/{name}.jpg', 1, 4)
        put(f'{top}/annotations/{folder}/{name}.png', [[0, 1, 13, 150]])
    for root in (tmp_path, tmp_path / top):
        (sample,) = open_dataset('ade20k', root).samples('val')
        assert sample.image.name == 'ADE_val_00000001.jpg'
        assert sample.read_mask().tolist() == [[255, 0, 12, 149]]
        assert sample.taxonomy.classes[12] == 'person'
    (sample,) = open_dataset('ade20k', tmp_path).samples('train')
    assert sample.image.name == 'ADE_train_00000001.jpg'


def test_camvid_by_split(camvid: Path) -> None:
    dataset = open_dataset('camvid', camvid)
    samples = dataset.samples('train')
    assert (len(samples), len(dataset.samples('val'))) == (367, 101)
    assert samples[0].image.stem == samples[0].mask.stem == '0001TP_006690'
    assert samples[0].read_image().shape == (360, 480, 3)
    mask = samples[0].read_mask()
    assert (mask.shape, mask.dtype) == ((360, 480), np.uint8)
    assert set(np.unique(mask).tolist()) <= {*range(11), 255}


class TestCityscapes:
    IMAGE = 'leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png'
    LABEL = 'gtFine/val/ulm/ulm_000000_000019_gtFine_'

    @pytest.fixture(autouse=True)
    def image(self, put_image: Put) -> None:
        put_image(self.IMAGE, 4, 8)

    def mask(self, root: Path) -> list[list[int]]:
        (sample,) = open_dataset('cityscapes', root).samples('val')
        labels: list[list[int]] = sample.read_mask().tolist()
        return labels

    def test_label_ids_become_train_ids(self, tmp_path: Path, put: Put) -> None:
        put(f'{self.LABEL}labelIds.png', [[*range(8)], [*range(8, 16)], [*range(16, 24)]])
        assert self.mask(tmp_path) == [
            [255, 255, 255, 255, 255, 255, 255, 0],
            [1, 255, 255, 2, 3, 4, 255, 255],
            [255, 5, 255, 6, 7, 8, 9, 10],
        ]
        put(f'{self.LABEL}labelIds.png', [[*range(24, 34)]])
        assert self.mask(tmp_path) == [[11, 12, 13, 14, 15, 255, 255, 16, 17, 18]]

    def test_train_ids_are_read_where_there_is_nothing_else(self, tmp_path: Path, put: Put) -> None:
        put(f'{self.LABEL}labelTrainIds.png', [[0, 18, 255, 11]])
        put(f'{self.LABEL}color.png', [[(1, 2, 3)]])
        put(f'{self.LABEL}instanceIds.png', [[26001]], np.uint16)
        assert self.mask(tmp_path) == [[0, 18, 255, 11]]
        put(f'{self.LABEL}labelIds.png', [[7, 7, 7, 7]])
        assert self.mask(tmp_path) == [[0, 0, 0, 0]]


class TestPascalContext:
    HOME = 'VOCdevkit/VOC2010'

    @pytest.fixture(autouse=True)
    def images(self, tmp_path: Path, put_image: Put) -> None:
        for name in ('2008_000002', '2008_000003', '2010_000001'):
            put_image(f'{self.HOME}/JPEGImages/{name}.jpg', 1, 5)
        self.list_images(tmp_path, 'Main')

    def list_images(self, root: Path, folder: str) -> None:
        lists = root / self.HOME / 'ImageSets' / folder
        lists.mkdir(parents=True)
        (lists / 'train.txt').write_text('2008_000003\n2008_000002\n')
        (lists / 'val.txt').write_text('2010_000001\n')

    def test_png_masks(self, tmp_path: Path, put: Put) -> None:
        put(f'{self.HOME}/SegmentationClassContext/2010_000001.png', [[0, 1, 2, 59, 255]])
        for name, labels in (('59', [255, 0, 1, 58, 255]), ('60', [0, 1, 2, 59, 255])):
            (sample,) = open_dataset(f'pascal_context_{name}', tmp_path).samples('val')
            assert sample.read_mask().tolist() == [labels]
            assert sample.taxonomy.classes[labels[3]] == 'wood'

    def test_the_lists_of_context_come_first(self, tmp_path: Path, put: Put) -> None:
        home = tmp_path / self.HOME
        with pytest.raises(DataError, match=r'no folder .*ClassContext: PASCAL Context'):
            open_dataset('pascal_context_59', tmp_path).samples('val')
        for name in ('2008_000002', '2008_000003', '2010_000001'):
            put(f'{self.HOME}/SegmentationClassContext/{name}.png', [[1] * 5])
        samples = open_dataset('pascal_context_59', tmp_path).samples('train')
        assert [sample.image.stem for sample in samples] == ['2008_000002', '2008_000003']
        # processes that load images are sent their samples
        assert pickle.loads(pickle.dumps(samples)) == samples
        self.list_images(tmp_path, 'SegmentationContext')
        own = home / 'ImageSets' / 'SegmentationContext' / 'val.txt'
        own.write_text('2008_000002')
        for root in (tmp_path, tmp_path / 'VOCdevkit', home):
            (sample,) = open_dataset('pascal_context_59', root).samples('val')
            assert sample.image.stem == '2008_000002'
        own.write_text('')
        with pytest.raises(DataError, match=r'val\.txt lists no images'):
            open_dataset('pascal_context_59', tmp_path).samples('val')
        with pytest.raises(DataError, match=r'no list .*SegmentationContext/test\.txt or '):
            open_dataset('pascal_context_59', tmp_path).samples('test')


@pytest.mark.parametrize('folder', ['annotations', 'stuffthingmaps_trainval2017'])
def test_coco_stuff_closes_its_gaps(tmp_path: Path, put: Put, put_image: Put, folder: str) -> None:
    name = '000000000139'
    put_image(f'images/val2017/{name}.jpg', 1, 6)
    mask = put(f'{folder}/val2017/{name}.png', [[0, 10, 12, 91, 181, 255]])
    put(f'{folder}/val2017/{name}_labelTrainIds.png', [[170, 255]])
    (sample,) = open_dataset('coco_stuff', tmp_path).samples('val')
    labels = sample.read_mask()
    assert labels.tolist() == [[0, 10, 11, 80, 170, 255]]
    names = [sample.taxonomy.classes[label] for label in labels[0, :5]]
    assert names == ['person', 'fire hydrant', 'stop sign', 'banner', 'wood']
    put(f'{folder}/val2017/{name}.png', [[11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90, 182]])
    gaps = r'\[11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90, 182\]'
    with pytest.raises(DataError, match=rf'139\.png: the mask holds ids {gaps}, unknown'):
        sample.read_mask()
    mask.unlink()
    (sample,) = open_dataset('coco_stuff', tmp_path).samples('val')
    assert sample.read_mask().tolist() == [[170, 255]]


class TestFolder:
    CLASSES = """
name: field
ignored: [9]
classes:
  - {name: soil, color: [120, 80, 20]}
  - {name: crop, ids: [5, 6], color: [0, 200, 0]}
  - {name: weed, id: 3, color: [200, 0, 90]}
"""

    @pytest.fixture(autouse=True)
    def classes(self, tmp_path: Path) -> None:
        (tmp_path / 'classes.yaml').write_text(self.CLASSES)

    def test_ids(self, tmp_path: Path, put: Put, put_image: Put) -> None:
        put_image('images/train/monday/a.JPG', 1, 6)
        put_image('images/train/b.webp', 1, 6)
        put('masks/train/monday/a.png', [[0, 5, 6, 3, 9, 255]])
        put('masks/train/b.tif', [[0, 5, 6, 3, 9, 255]], np.uint16)
        samples = open_dataset('folder', tmp_path).samples('train')
        assert [sample.image.name for sample in samples] == ['b.webp', 'a.JPG']
        for sample in samples:
            assert sample.read_mask().tolist() == [[0, 1, 1, 2, 255, 255]]

    def test_colors(self, tmp_path: Path, put: Put, put_image: Put) -> None:
        put_image('images/val/a.png', 1, 4)
        colors = [(200, 0, 90), (0, 200, 0), (0, 0, 0), (120, 80, 20)]
        mask = put('masks/val/a.png', [colors])
        (sample,) = open_dataset('folder', tmp_path).samples('val')
        assert sample.read_mask().tolist() == [[2, 1, 255, 0]]
        put('masks/val/a.png', [[*colors, (1, 2, 3)]])
        with pytest.raises(DataError, match=r'colors \[\[1, 2, 3\]\], unknown to .field'):
            sample.read_mask()
        mask.unlink()
        with pytest.raises(DataError, match=r'a\.png has no mask'):
            open_dataset('folder', tmp_path).samples('val')

    @pytest.mark.parametrize('other', ['a.jpg', 'a.PNG'])
    def test_two_images_of_one_name(self, tmp_path: Path, put_image: Put, other: str) -> None:
        (tmp_path / 'masks' / 'val').mkdir(parents=True)
        for name in ('a.png', other):
            put_image(f'images/val/{name}', 1, 1)
        with pytest.raises(DataError, match=r'/a\..* and .*/a\..* are two .* of one name'):
            open_dataset('folder', tmp_path).samples('val')
