from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lemore_core.images.render import colorize
from lemore_core.taxonomy import (
    BUILT_IN,
    ClassGroups,
    Taxonomy,
    TaxonomyError,
    load_groups,
    load_taxonomy,
    mask_tables,
)
from lemore_core.taxonomy.groups import Group, GroupsError

CAMVID = load_taxonomy('camvid')
GREEN, RED = (0, 255, 0), (255, 0, 0)
STREET = Taxonomy(
    'street', ('road', 'car', 'path', 'sky'), ((1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4))
)
WAY = Group('way', GREEN, ('path', 'road'))
THINGS = Group('things', RED, ('car',))


def test_classes_become_groups() -> None:
    groups = ClassGroups('mine', STREET, (WAY, THINGS), ('sky',))
    labels = np.array([[0, 1, 2], [3, 255, 0]], np.uint8)
    found = groups.apply(labels)
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, 1, 0], [255, 255, 0]]
    assert groups.taxonomy == Taxonomy('mine', ('way', 'things'), (GREEN, RED))
    colors = colorize(found, groups.taxonomy.palette)[0]
    assert colors.tolist() == [[0, 255, 0], [255, 0, 0], [0, 255, 0]]


@pytest.mark.parametrize(
    ('groups', 'ignored', 'expected'),
    [
        ((WAY, THINGS), (), r'in no group \(put them into one, or under ignore\): sky'),
        ((WAY, THINGS), ('sky', 'car'), 'in more than one place: car'),
        ((WAY, THINGS, Group('way', RED, ())), ('sky',), 'groups of the same name: way'),
        ((WAY, THINGS, Group('ignore', RED, ('sky',))), (), 'reserved names of groups'),
        ((WAY,), ('trees',), 'unknown classes: trees; classes in no group .*: car, sky'),
        ((WAY,), ('sky', 'car'), "'mine' has 1 classes, it needs 2"),
        ((WAY, Group('things', (0, 0, 999), ('car',))), ('sky',), "color of 'things' is"),
    ],
)
def test_groups_that_do_not_fit_are_refused(
    groups: tuple[Group, ...], ignored: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(TaxonomyError, match=expected):
        ClassGroups('mine', STREET, groups, ignored)


@pytest.mark.parametrize('name', BUILT_IN)
def test_built_in_groups_are_the_same_in_all(name: str) -> None:
    groups = load_groups('auto', load_taxonomy(name))
    assert groups.name == f'{name}_groups'
    other = load_groups('auto', load_taxonomy('camvid'))
    assert groups.taxonomy.classes == other.taxonomy.classes
    assert groups.taxonomy.colors == other.taxonomy.colors
    labels = np.arange(len(groups.of.classes), dtype=np.uint8)[None]
    found = groups.apply(labels)[0]
    assert groups.taxonomy.classes[found[groups.of.classes.index('road')]] == 'traversable'
    assert np.count_nonzero(found == 255) == len(groups.ignored)
    assert len(groups.ignored) <= 5


@pytest.mark.parametrize(
    ('taxonomy', 'group', 'classes'),
    [
        ('ade20k', 'hazard', {'stairs', 'escalator', 'swimming pool', 'lake'}),
        ('ade20k', 'rough', {'sand', 'dirt track'}),
        ('cityscapes', 'dynamic', {'rider', 'bicycle'}),
        ('coco_stuff', 'obstacle', {'wall-brick', 'hill', 'fire hydrant'}),
        ('pascal_context_59', 'hazard', {'track', 'water'}),
        ('pascal_context_60', 'sky', {'sky'}),
    ],
)
def test_classes_are_where_a_robot_wants_them(taxonomy: str, group: str, classes: set[str]) -> None:
    groups = {g.name: set(g.classes) for g in load_groups('auto', load_taxonomy(taxonomy)).groups}
    assert classes <= groups[group]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text(
        'name: mine\nignore: [sky]\ngroups:\n'
        '- {name: way, color: [0, 255, 0], classes: [path, road]}\n'
        '- {name: things, color: [255, 0, 0], classes: [car]}\n'
    )
    assert load_groups(str(path), STREET) == ClassGroups('mine', STREET, (WAY, THINGS), ('sky',))
    path.write_text('name: x\ngroups: []\nignore: sky', encoding='utf-8')
    with pytest.raises(GroupsError, match="ignore is 'sky', allowed: a list"):
        load_groups(str(path), STREET)


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(GroupsError, match="called 'outdoor': give one of ade20k, camvid"):
        load_groups('outdoor', STREET)
    with pytest.raises(GroupsError, match="no class groups are called 'street'"):
        load_groups('auto', STREET)
    with pytest.raises(GroupsError, match="'camvid_groups' do not fit 'street': unknown classes"):
        load_groups('camvid', STREET)


def test_a_mask_is_of_a_class_or_of_a_group() -> None:
    assert mask_tables(['car'], STREET)['car'][:3].tolist() == [0, 255, 0], 'without groups'
    tables = mask_tables(['car', 'dynamic'], CAMVID)
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name, classes in {'car': ['car'], 'dynamic': ['car', 'pedestrian', 'bicyclist']}.items():
        mask = tables[name].take(labels)
        ids = [CAMVID.classes.index(one) for one in classes]
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, np.isin(labels, ids) * 255)


def test_where_groups_are_published_a_mask_is_of_one() -> None:
    groups = load_groups('auto', CAMVID)
    table = mask_tables(['obstacle'], CAMVID, groups)['obstacle']
    assert np.flatnonzero(table).tolist() == [groups.taxonomy.classes.index('obstacle')]
    with pytest.raises(GroupsError, match="no mask of 'car': nothing is called so, there are: dy"):
        mask_tables(['car'], CAMVID, groups)


@pytest.mark.parametrize('groups', [None, load_groups('auto', CAMVID)])
def test_a_group_that_no_class_belongs_to_is_named(groups: object) -> None:
    with pytest.raises(GroupsError, match="no mask of 'hazard': no class belongs to it"):
        mask_tables(['hazard'], CAMVID, groups)  # type: ignore[arg-type]
