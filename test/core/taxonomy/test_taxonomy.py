from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lemore_core.taxonomy import BUILT_IN, Taxonomy, TaxonomyError, load_taxonomy

TWO = """
name: x
classes:
- {{name: a, color: [1, 2, 3], {}}}
- {{name: b, color: [4, 5, 6], {}}}
"""
Colors = tuple[tuple[int, int, int], ...]
Ids = tuple[tuple[int, ...], ...]
RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.mark.parametrize(
    ('name', 'classes', 'index', 'class_name', 'disk_id', 'color'),
    [
        ('camvid', 11, 3, 'road', 3, (128, 64, 128)),
        ('ade20k', 150, 149, 'flag', 150, (92, 0, 255)),
        ('cityscapes', 19, 18, 'bicycle', 33, (119, 11, 32)),
        ('coco_stuff', 171, 170, 'wood', 181, (0, 224, 192)),
        ('pascal_context_59', 59, 58, 'wood', 59, (192, 192, 64)),
        ('pascal_context_60', 60, 20, 'cow', 20, (0, 64, 128)),
    ],
)
def test_the_built_in_tables_are_the_official_ones(
    name: str, classes: int, index: int, class_name: str, disk_id: int, color: tuple[int, int, int]
) -> None:
    taxonomy = load_taxonomy(name)
    assert taxonomy.name == name
    assert len(set(taxonomy.classes)) == len(taxonomy.classes) == classes
    assert name in BUILT_IN
    assert Taxonomy.from_dict(taxonomy.to_dict(), 'itself') == taxonomy
    assert taxonomy.palette.shape == (256, 3)
    assert not taxonomy.palette[taxonomy.unlabelled].any()
    assert taxonomy.classes[index] == class_name
    assert taxonomy.disk_ids[index] == (disk_id,)
    assert taxonomy.colors[index] == color


@pytest.mark.parametrize(
    ('name', 'first'), [('coco_stuff', 1), ('pascal_context_59', 1), ('pascal_context_60', 0)]
)
def test_colors_of_the_voc_palette(name: str, first: int) -> None:
    taxonomy = load_taxonomy(name)
    for (disk_id,), color in zip(taxonomy.disk_ids, taxonomy.colors, strict=True):
        # COCO-Stuff's ids on disk are those of its list less one
        bits = f'{disk_id + (name == "coco_stuff"):09b}'[::-1]
        expected = [sum(int(bits[3 * k + c]) << (7 - k) for k in range(3)) for c in range(3)]
        assert list(color) == expected
    assert taxonomy.disk_ids[0] == (first - (name == 'coco_stuff'),)


def test_a_users_own_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text(TWO.format('id: 0', 'id: 1'))
    taxonomy = load_taxonomy(str(path))
    assert taxonomy == Taxonomy('x', ('a', 'b'), ((1, 2, 3), (4, 5, 6)))
    path.write_text(
        "name: x\nclasses:\n- {name: a, colour: '#010203'}\n- {name: b, color: '#040506'}\n"
    )
    assert load_taxonomy(str(path)) == taxonomy
    assert Taxonomy.from_dict(taxonomy.to_dict(), 'itself') == taxonomy


VOC = ((128, 0, 0), (0, 128, 0))


@pytest.mark.parametrize(
    ('text', 'colors', 'ids'),
    [
        ('classes: [a, b]', VOC, ()),
        ('[a, b]', VOC, ()),
        ('classes: {0: a, 1: b}', VOC, ()),
        ('{0: a, 255: b}', VOC, ((0,), (255,))),
        ('names: {0: a, 1: b}\nnc: 2\ntrain: images\nroboflow: {version: 1}', VOC, ()),
        ('{"0": "a", "7": "b"}', VOC, ((0,), (7,))),
        ("{a: maroon, b: 'rgb(0, 128, 0)'}", VOC, ()),
        ('{a: 7, b: 9}', VOC, ((7,), (9,))),
        ("{a: [1, 2, 3], b: '#040506'}", ((1, 2, 3), (4, 5, 6)), ()),
        ('classes: {a: {colour: [128, 0, 0], id: 3}, b: }', VOC, ((3,), (1,))),
        ('- a: [0, 128, 0]\n- b', (VOC[1], VOC[0]), ()),
        ('{"architectures": ["x"], "id2label": {"0": "a", "1": "b"}, "num_labels": 2}', VOC, ()),
        ('classes: [{name: a, id: 4}, {name: b, color: [128, 0, 0]}]', VOC[::-1], ((4,), (1,))),
    ],
)
def test_short_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, colors: Colors, ids: Ids
) -> None:
    path = tmp_path / 'mine' / 'classes.yaml'
    path.parent.mkdir()
    path.write_text(text)
    table = load_taxonomy(str(path))
    assert table == Taxonomy('mine', ('a', 'b'), colors, ids=ids)
    assert Taxonomy.from_dict(table.to_dict(), 'itself') == table
    path.with_suffix('.txt').write_text('a\n\nb\n')
    assert load_taxonomy(str(path.with_suffix('.txt'))).classes == ('a', 'b')
    # as from a parameter file, where no shell has read it
    monkeypatch.setenv('HOME', str(tmp_path))
    assert load_taxonomy('~/mine/classes.yaml') == table
    assert load_taxonomy('~/mine/classes.txt').classes == ('a', 'b')


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('# ours\n__ignore__\na\nb', Taxonomy('mine', ('a', 'b'), VOC)),
        ('0: a\n7: b', Taxonomy('mine', ('a', 'b'), VOC, ids=((0,), (7,)))),
        ('0 a b\n7 c', Taxonomy('mine', ('a b', 'c'), VOC, ids=((0,), (7,)))),
        ('7 a\nb', Taxonomy('mine', ('7 a', 'b'), VOC)),
        (
            '# label:color_rgb:parts:actions\na:0,0,0::\nb:255,0,0::hand\n',
            Taxonomy('mine', ('a', 'b'), ((0, 0, 0), RED)),
        ),
    ],
)
def test_a_class_in_each_line(tmp_path: Path, text: str, expected: Taxonomy) -> None:
    path = tmp_path / 'mine.txt'
    path.write_text(text)
    assert load_taxonomy(str(path)) == expected


COLORED = Taxonomy('mine', ('a b', 'c'), (RED, GREEN))


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        # of Kaggle's CamVid, of CamVid itself, of Roboflow
        ('name,r,g,b,class_11\na b,255,0,0,1\nc,0,255,0,1\n', COLORED),
        ('name; r; g; b\na b; 255; 0; 0\nc; 0; 255; 0\n', COLORED),
        ('a b 255 0 0\nc 0 255 0\n', COLORED),
        ('255 0 0\ta b\n0 255 0\tc\n', COLORED),
        ('0,a b,255,0,0\n1,c,0,255,0\n', COLORED),
        ('Pixel Value, Class\n0, a b\n1, c\n', Taxonomy('mine', ('a b', 'c'), VOC)),
    ],
)
def test_columns_of_names_ids_and_colors(tmp_path: Path, text: str, expected: Taxonomy) -> None:
    for path in (tmp_path / 'mine.txt', tmp_path / 'mine.csv'):
        path.write_text(text)
        assert load_taxonomy(str(path)) == expected
    path.write_text('class,key,hex\na,0,#000000\nb,1,#1ce6ff\n')
    with pytest.raises(TaxonomyError, match="line 'class,key,hex': write 7,road or road,128"):
        load_taxonomy(str(path))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('name: x\nclasses: [{name: a, color: [1, 2, 3]}]', 'has 1 classes'),
        (TWO.format('id: 3', 'id: 3'), "the id 3 of 'b' is that of 'a' too"),
        (TWO.format('id: 1', 'ids: [7, 8]') + 'ignored: [8]', "id 8 of 'b' is that of 'ignored'"),
        ('name: x\nclasses: [{name: a, color: rot}]', "color is 'rot', allowed: .*'#rrggbb'"),
        ('- a\n' * 2**16, 'bad.yaml has 65536 classes, it needs 2 to 65534'),
        ('[a, b, a]', "has 2 classes called 'a'"),
        ("[a, ' ']", "has 1 classes called ' '"),
        ('[a, ~]', r"classes is \[{'name': 'a', 'color': .*}, None\], allowed: names, or"),
        ('a\nb\n', r"'a b', allowed: names, such as \[background, person\]"),
        ('# nothing', 'is None, allowed: names, such as'),
        (TWO.format('id: -1', 'id: 1'), 'id is -1, allowed: nothing or an integer from 0 to 65535'),
        (TWO.format('ids: []', 'id: 1'), "'a' has no id"),
        ('classes: [yes, no]', 'classes is .* allowed: names, or entries such as {name: road'),
        ('classes: {1: [a, b]}', r"name is \['a', 'b'\], allowed: text"),
    ],
)
def test_a_malformed_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / 'bad.yaml'
    path.write_text(text)
    with pytest.raises(TaxonomyError, match=message):
        load_taxonomy(str(path))
    with pytest.raises(TaxonomyError, match=r"'mars'.*camvid"):
        load_taxonomy('mars')


def test_ids_on_disk_become_class_ids() -> None:
    table = Taxonomy('two', ('a', 'b'), (RED, GREEN), ignored=(0, 4), ids=((7,), (2, 300)))
    for dtype in (np.uint16, np.int32, np.int64):
        labels = table.encode(np.array([[7, 2, 300], [0, 4, 255]], dtype))
        assert labels.dtype == np.uint8
        assert labels.tolist() == [[0, 1, 1], [255, 255, 255]]
    assert table.of_labels.encode(np.array([[0, 1, 255]], np.uint8)).tolist() == [[0, 1, 255]]
    assert table.encode(np.zeros((0, 4), np.uint8)).shape == (0, 4)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int64])
def test_unknown_ids_are_listed(dtype: type) -> None:
    table = Taxonomy('two', ('a', 'b'), (RED, GREEN), ids=((7,), (2,)))
    with pytest.raises(TaxonomyError, match=r'holds ids \[0, 1, 3, .* 82 more, unknown to .two'):
        table.encode(np.arange(100, dtype=dtype))
    with pytest.raises(TaxonomyError, match=r'\[-1, 65536, 70000\]'):
        table.encode(np.array([2, 65536, 70000, -1, 7]))


def test_many_classes_are_encoded_in_16_bit() -> None:
    assert Taxonomy('most', tuple(map(str, range(255))), (RED,) * 255).unlabelled == 255
    assert Taxonomy('more', tuple(map(str, range(256))), (RED,) * 256).unlabelled == 65535
    table = Taxonomy('many', tuple(map(str, range(300))), (RED,) * 300, ignored=(299,))
    labels = table.encode(np.array([[255, 298, 299, 65535]], np.uint16))
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[255, 298, 65535, 65535]]


def test_colors_become_class_ids() -> None:
    table = Taxonomy('two', ('a', 'b'), (RED, GREEN), ids=((7,), (2,)))
    mask = np.array([[GREEN, RED, (0, 0, 0)]], np.uint8)
    assert table.encode_colors(mask).tolist() == [[1, 0, 255]]
    with pytest.raises(TaxonomyError, match=r'colors \[\[0, 0, 255\], \[255, 1, 0\]\], unknown'):
        table.encode_colors(np.array([[RED, (255, 1, 0), (0, 0, 255)]], np.uint8))
    with pytest.raises(TaxonomyError, match='the mask has colors of uint16'):
        table.encode_colors(np.zeros((1, 1, 3), np.uint16))
    black = Taxonomy('black', ('a', 'b'), ((0, 0, 0), GREEN))
    assert black.encode_colors(np.array([[GREEN, (0, 0, 0)]], np.uint8)).tolist() == [[1, 0]]
    with pytest.raises(TaxonomyError, match='classes of one color'):
        load_taxonomy('ade20k').encode_colors(np.zeros((1, 1, 3), np.uint8))


def test_checkpoints_of_today_and_before_are_read() -> None:
    rows = [{'name': 'a', 'color': [255, 0, 0]}, {'name': 'b', 'color': [0, 255, 0]}]
    before = {'name': 'two', 'classes': rows, 'ignored': [1]}
    table = Taxonomy.from_dict(before, 'a card')
    assert table.ids == ()
    assert table.to_dict() == before
    assert table.encode(np.array([0, 1, 255], np.uint8)).tolist() == [0, 255, 255]
    mapped = Taxonomy('two', ('a', 'b'), (RED, GREEN), ids=((7,), (2, 3)))
    assert mapped.to_dict()['classes'] == [{**rows[0], 'id': 7}, {**rows[1], 'ids': [2, 3]}]
    assert Taxonomy.from_dict(mapped.to_dict(), 'a card') == mapped
