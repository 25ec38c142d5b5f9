from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lemore_core.data.datasets import DATASETS, open_dataset
from lemore_core.data.samples import (
    DataError,
    read_ids,
    read_ids_or_colors,
    read_soft,
    soft_labels,
    write_soft,
)
from lemore_core.taxonomy import Taxonomy, TaxonomyError

Put = Callable[..., Path]

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
# masks as programs write them, of ids (H, W) that are 0 or 1
MASKS: dict[str, Callable[[NDArray[np.uint8]], Image.Image]] = {
    'ids': Image.fromarray,
    'grey': lambda ids: Image.fromarray(ids * 255),
    'one bit': lambda ids: Image.fromarray(ids * 255).convert('1'),
    '16 bits': lambda ids: Image.fromarray(ids.astype(np.uint16) * 65535),
    'RGB': lambda ids: Image.fromarray(ids * 255).convert('RGB'),
    'RGBA': lambda ids: Image.fromarray(ids * 255).convert('RGBA'),
    'grey and alpha': lambda ids: Image.fromarray(ids * 255).convert('LA'),
    'alpha': lambda ids: Image.fromarray(np.dstack([ids * 0 + 255, ids * 255]), 'LA'),
    'palette': lambda ids: Image.fromarray(ids * 255).convert('P'),
    'palette of ids': lambda ids: of_palette(ids, (7, 7, 7), (9, 9, 9)),
    'palette upside down': lambda ids: of_palette(1 - ids, (255,) * 3, (0,) * 3),
}
SWAPPED = '{a: [255, 255, 255], b: [0, 0, 0]}'
VOC = ((0, 0, 0), (128, 0, 0), (0, 128, 0))


def of_palette(indices: Any, *colors: tuple[int, ...]) -> Image.Image:
    image = Image.fromarray(np.atleast_2d(np.array(indices, np.uint8)), 'P')
    image.putpalette([value for color in colors for value in color])
    return image


def rgba(*pixels: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.array([pixels], np.uint8), 'RGBA')


def masks_of(root: Path, dataset: str = 'folder', split: str = 'val') -> list[Any]:
    return [sample.read_mask().tolist() for sample in open_dataset(dataset, root).samples(split)]


TABLE = Taxonomy('three', ('a', 'b', 'c'), (RED, GREEN, BLUE))


@pytest.fixture
def root(tmp_path: Path, put_pair: Put) -> Path:
    """A tree of CamVid's layout with one pair."""
    put_pair('val/a.png', 'valannot/a.png', [[0, 3, 10, 11, 0, 0]] * 4)
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
    with pytest.raises(DataError, match=r'no class table .*classes\.yaml: write one, such as \['):
        open_dataset('folder', tmp_path)
    (tmp_path / 'classes.txt').write_text('a\nb\n')
    assert open_dataset('folder', tmp_path).taxonomy.classes == ('a', 'b')
    rows = ''.join(f'- {{name: c{i}, color: [0, 0, {i % 256}]}}\n' for i in range(256))
    (tmp_path / 'classes.yaml').write_text(f'name: many\nclasses:\n{rows}')
    with pytest.raises(DataError, match='256 classes, masks hold at most 255'):
        open_dataset('folder', tmp_path)


@pytest.mark.parametrize(
    ('image', 'expected'),
    [
        # a palette does not replace the ids
        (of_palette([0, 1, 2, 1], (9, 9, 9), (8, 8, 8), (7, 7, 7)), [0, 1, 2, 1]),
        (of_palette([0, 1, 2], RED, GREEN, BLUE), [0, 1, 2]),
        # colours reduced to a palette are not taken for ids
        (of_palette([0, 1, 1], BLUE, RED, GREEN), r'a\.png has a palette of the classes'),
        # alpha holds ids, or what is drawn
        (rgba((255, 255, 255, 0), (255, 255, 255, 2)), [0, 2]),
        (rgba((0, 0, 0, 1), (0, 0, 0, 2)), [1, 2]),
        # white that is transparent, as GIMP and Photoshop save it
        (rgba((255, 255, 255, 0), (*GREEN, 255)), [255, 1]),
        (rgba((*RED, 255), (*RED, 90)), [0, 0]),
        (rgba((*BLUE, 0)), [2]),
        # numbers with a point are ids where they are whole
        (Image.fromarray(np.array([[0, 2, 255]], np.float32)), [0, 2, 255]),
        (
            Image.fromarray(np.array([[0, 0.5, np.nan]], np.float32)),
            r'but float32 \(1, 3\): save it as 8-bit grey',
        ),
    ],
)
def test_a_mask_is_of_ids_or_of_colors(
    tmp_path: Path, image: Image.Image, expected: list[int] | str
) -> None:
    image.save(path := tmp_path / ('a.tif' if image.mode == 'F' else 'a.png'))
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            read_ids_or_colors(path, TABLE)
    else:
        assert read_ids_or_colors(path, TABLE).tolist() == [expected]
    if image.mode == 'P':
        assert read_ids(path, TABLE).tolist() == np.asarray(image).tolist()


@pytest.mark.parametrize('first', ['_background_', 'ground'])
def test_vocs_palette_is_that_of_its_ids(tmp_path: Path, first: str) -> None:
    table = Taxonomy.from_dict([first, 'b', 'c'], 'mine')
    for ids in ([0, 1, 2], [1, 2]):
        image = of_palette(ids, *VOC)
        for form in (image, image.convert('RGB'))[: 1 + (first != 'ground')]:
            form.save(tmp_path / 'a.png')
            assert read_ids_or_colors(tmp_path / 'a.png', table).tolist() == [ids]


def test_ids_of_16_bits(put: Put) -> None:
    wide = Taxonomy('wide', ('a', 'b'), (RED, GREEN), ids=((300,), (65534,)))
    for name in ('a.png', 'b.tif'):
        assert read_ids(put(name, [[300, 65534]], np.uint16), wide).tolist() == [[0, 1]]
    with pytest.raises(TaxonomyError, match=r'ids \[0\]'):
        read_ids(put('a.png', [[0, 300, 65534]], np.uint16), wide)


def test_what_is_no_mask_is_named(tmp_path: Path, put: Put) -> None:
    path = tmp_path / 'a.png'
    of_palette([0, 1, 2] * 90, RED, GREEN, BLUE).save(path)
    cut = path.read_bytes()[:60]
    path.unlink()
    for content, reason in ((b'', 'No such file'), (b'no image', 'cannot identify'), (cut, '')):
        if content:
            path.write_bytes(content)
        with pytest.raises(DataError, match=rf'a\.png is no readable image: .*{reason}'):
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


def test_ade20k_counts_from_one_and_leaves_zero_unlabelled(tmp_path: Path, put_pair: Put) -> None:
    top = 'ADEChallengeData2016'
    for name in ('training/ADE_train_00000001', 'validation/ADE_val_00000001'):
        put_pair(f'{top}/images/{name}.jpg', f'{top}/annotations/{name}.png', [[0, 1, 13, 150]])
    for root in (tmp_path, tmp_path / top):
        (sample,) = open_dataset('ade20k', root).samples('val')
        assert sample.image.name == 'ADE_val_00000001.jpg'
        assert sample.read_mask().tolist() == [[255, 0, 12, 149]]
        assert sample.taxonomy.classes[12] == 'person'
    (sample,) = open_dataset('ade20k', tmp_path).samples('train')
    assert sample.image.name == 'ADE_train_00000001.jpg'


def test_cityscapes_label_ids_come_before_train_ids(
    tmp_path: Path, put: Put, put_image: Put
) -> None:
    put_image('leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png', 4, 8)
    label = 'gtFine/val/ulm/ulm_000000_000019_gtFine_'
    ids = [[*range(8)], [*range(8, 16)], [*range(16, 24)], [*range(24, 32)], [32, 33] * 4]
    labels = [
        [255, 255, 255, 255, 255, 255, 255, 0],
        [1, 255, 255, 2, 3, 4, 255, 255],
        [255, 5, 255, 6, 7, 8, 9, 10],
        [11, 12, 13, 14, 15, 255, 255, 16],
        [17, 18] * 4,
    ]
    put(f'{label}color.png', [[(1, 2, 3)]])
    put(f'{label}instanceIds.png', [[26001]], np.uint16)
    for kind, pixels, expected in (
        ('labelTrainIds', [[0, 18, 255, 11]], [[0, 18, 255, 11]]),
        ('labelIds', ids, labels),
    ):
        put(f'{label}{kind}.png', pixels)
        assert masks_of(tmp_path, 'cityscapes') == [expected]


class TestPascalContext:
    HOME = 'VOCdevkit/VOC2010'
    NAMES = ('2008_000002', '2008_000003', '2010_000001')

    @pytest.fixture(autouse=True)
    def images(self, tmp_path: Path, put_image: Put) -> None:
        for name in self.NAMES:
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
        for name in self.NAMES:
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
def test_coco_stuff_closes_its_gaps(tmp_path: Path, put: Put, put_pair: Put, folder: str) -> None:
    image, path = 'images/val2017/000000000139.jpg', f'{folder}/val2017/000000000139'
    mask = put_pair(image, f'{path}.png', [[0, 10, 12, 91, 181, 255]])
    put(f'{path}_labelTrainIds.png', [[170, 255]])
    (sample,) = open_dataset('coco_stuff', tmp_path).samples('val')
    labels = sample.read_mask()
    assert labels.tolist() == [[0, 10, 11, 80, 170, 255]]
    names = [sample.taxonomy.classes[label] for label in labels[0, :5]]
    assert names == ['person', 'fire hydrant', 'stop sign', 'banner', 'wood']
    put(f'{path}.png', [[11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90, 182]])
    gaps = r'\[11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90, 182\]'
    with pytest.raises(DataError, match=rf'139\.png: the mask holds ids {gaps}, unknown'):
        sample.read_mask()
    mask.unlink()
    assert masks_of(tmp_path, 'coco_stuff') == [[[170, 255]]]


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

    def test_ids(self, tmp_path: Path, put_pair: Put) -> None:
        ids = [[0, 5, 6, 3, 9, 255]]
        put_pair('images/train/monday/a.JPG', 'masks/train/monday/a.png', ids)
        put_pair('images/train/b.webp', 'masks/train/b.tif', ids, np.uint16)
        samples = open_dataset('folder', tmp_path).samples('train')
        assert [sample.image.name for sample in samples] == ['b.webp', 'a.JPG']
        assert masks_of(tmp_path, split='train') == [[[0, 1, 1, 2, 255, 255]]] * 2

    def test_colors(self, tmp_path: Path, put: Put, put_pair: Put) -> None:
        colors = [(200, 0, 90), (0, 200, 0), (0, 0, 0), (120, 80, 20)]
        mask = put_pair('images/val/a.png', 'masks/val/a.png', [colors])
        assert masks_of(tmp_path) == [[[2, 1, 255, 0]]]
        put('masks/val/a.png', [[*colors, (1, 2, 3)]])
        with pytest.raises(DataError, match=r'colors \[\[1, 2, 3\]\], unknown to .field'):
            masks_of(tmp_path)
        mask.unlink()
        with pytest.raises(DataError, match=r'a\.png has no mask'):
            masks_of(tmp_path)

    @pytest.mark.parametrize('table', ['[a, b]', '{a: [0, 0, 0], b: [255, 255, 255]}', SWAPPED])
    @pytest.mark.parametrize('kind', MASKS)
    def test_black_and_white_masks_are_of_two_classes(
        self, tmp_path: Path, put_image: Put, table: str, kind: str
    ) -> None:
        (tmp_path / 'classes.yaml').write_text(table)
        (tmp_path / 'masks' / 'val').mkdir(parents=True)
        for name, ids in (('none', [[0, 0]]), ('both', [[0, 1]]), ('all', [[1, 1]])):
            put_image(f'images/val/{name}.jpg', 1, 2)
            MASKS[kind](np.array(ids, np.uint8)).save(tmp_path / 'masks' / 'val' / f'{name}.png')
        expected = [[[1, 1]], [[0, 1]], [[0, 0]]]
        is_swapped = table == SWAPPED and kind not in ('ids', 'palette of ids')
        assert masks_of(tmp_path) == [
            [[i ^ is_swapped for i in row] for row in rows] for rows in expected
        ]

    @pytest.mark.parametrize('table', ['{classes: [a, b], ignored: [255]}', '[a, b, c]'])
    def test_255_is_unlabelled_where_other_masks_or_the_table_say_so(
        self, tmp_path: Path, put: Put, put_pair: Put, table: str
    ) -> None:
        (tmp_path / 'classes.yaml').write_text(table)
        for name in ('a', 'b'):
            put_pair(f'images/val/{name}.png', f'masks/val/{name}.png', [[0, 255]])
        assert masks_of(tmp_path) == [[[0, 255]]] * 2
        (tmp_path / 'classes.yaml').write_text('[a, b]')
        samples = open_dataset('folder', tmp_path).samples('val')
        put('masks/val/b.png', [[1, 255]])
        with pytest.raises(DataError, match=r'b\.png holds \[1\], but other masks are black and'):
            samples[1].read_mask()
        assert masks_of(tmp_path) == [[[0, 255]], [[1, 255]]]

    def test_other_names_of_folders_and_masks(
        self, tmp_path: Path, put: Put, put_pair: Put
    ) -> None:
        (tmp_path / 'classes.yaml').write_text('[a, b]')
        # as the tools of the YOLO family lay them, macOS decomposes letters, and Supervisely names
        image, mask = 'images/train/Stra\u00dfe \u00fc.jpg', 'train/labels/Stra\u00dfe u\u0308.png'
        put_pair(image, mask, [[0, 1]])
        put_pair('valid/images/a.jpg', 'valid/labels/a.jpg.png', [[0, 255]])
        assert masks_of(tmp_path, split='train') == [[[0, 1]]]
        assert masks_of(tmp_path) == [[[0, 255]]]
        put(mask, [[0, 255]])
        assert masks_of(tmp_path) == [[[0, 1]]]

    def test_what_stands_in_place_of_a_mask_is_named(self, tmp_path: Path, put_image: Put) -> None:
        for name in ('images/train/a_1.jpg', 'masks/train/a_1.jpg', 'masks/train/a_12.png'):
            put_image(name, 1, 2)
        message = r'a_1\.png: masks are PNG, BMP or TIFF without loss, not a_1\.jpg, and 1 more'
        for said in (
            rf'{message} .* \(lemore data split makes',
            r"not a_1\.json \(lemore data import reads labelme's",
        ):
            with pytest.raises(DataError, match=said):
                open_dataset('folder', tmp_path).samples('train')
            if (mask := tmp_path / 'masks/train/a_1.jpg').exists():
                mask.rename(mask.with_suffix('.json'))

    @pytest.mark.parametrize('other', ['a.jpg', 'a.PNG'])
    def test_two_images_of_one_name(self, tmp_path: Path, put_image: Put, other: str) -> None:
        (tmp_path / 'masks' / 'val').mkdir(parents=True)
        for name in ('a.png', other):
            put_image(f'images/val/{name}', 1, 1)
        with pytest.raises(DataError, match=r'/a\..* and .*/a\..* are two .* of one name'):
            open_dataset('folder', tmp_path).samples('val')
