from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lemore_core.taxonomy import BUILT_IN, Taxonomy, TaxonomyError, load_taxonomy


@pytest.mark.parametrize(('name', 'classes'), [('camvid', 11), ('cityscapes', 19), ('ade20k', 150)])
def test_the_built_in_tables(name: str, classes: int) -> None:
    taxonomy = load_taxonomy(name)
    assert taxonomy.name == name
    assert len(set(taxonomy.classes)) == len(taxonomy.classes) == classes
    assert name in BUILT_IN


def test_camvid_ids_are_those_of_its_label_images() -> None:
    taxonomy = load_taxonomy('camvid')
    assert taxonomy.classes[0] == 'sky'
    assert taxonomy.classes[3] == 'road'
    assert taxonomy.classes[10] == 'bicyclist'
    assert taxonomy.ignored == (11,)


def test_the_palette_covers_every_label() -> None:
    taxonomy = load_taxonomy('camvid')
    assert taxonomy.palette.shape == (256, 3)
    assert tuple(taxonomy.palette[3]) == (128, 64, 128)
    assert not taxonomy.palette[taxonomy.unlabelled].any()


def test_many_classes_need_16_bit() -> None:
    def table(count: int) -> Taxonomy:
        return Taxonomy('many', tuple(map(str, range(count))), ((1, 2, 3),) * count)

    assert (table(255).label_dtype, table(255).unlabelled) == (np.uint8, 255)
    assert (table(256).label_dtype, table(256).unlabelled) == (np.uint16, 65535)


def test_a_users_own_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text(
        'name: mine\nclasses:\n- {name: row, color: [1, 2, 3]}\n- {name: gap, color: [4, 5, 6]}\n'
    )
    taxonomy = load_taxonomy(str(path))
    assert taxonomy.classes == ('row', 'gap')
    assert Taxonomy.from_dict(taxonomy.to_dict(), 'itself') == taxonomy


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'is no taxonomy'),
        ('name: x\n', 'is no taxonomy'),
        ('name: x\nclasses: [{name: a, color: [1, 2, 3]}]', 'has 1 classes'),
        (
            'name: x\nclasses: [{name: a, color: [1, 2]}, {name: b, color: [1, 2, 3]}]',
            "color of 'a'",
        ),
        ('name: x\nclasses: [{name: a, color: 7}, {name: b, color: [1, 2, 3]}]', 'is no taxonomy'),
        ('name: x\nclasses: [{name: a, color: [1, 2, 300]}, {name: b, color: [1, 2, 3]}]', '300'),
        ('a: [', 'cannot be read'),
    ],
)
def test_a_malformed_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / 'bad.yaml'
    path.write_text(text)
    with pytest.raises(TaxonomyError, match=message):
        load_taxonomy(str(path))


def test_an_unknown_dataset_is_named_with_those_there_are() -> None:
    with pytest.raises(TaxonomyError, match=r"'mars'.*camvid"):
        load_taxonomy('mars')
    with pytest.raises(TaxonomyError, match='cannot be read'):
        load_taxonomy('gone.yaml')
