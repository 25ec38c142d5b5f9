from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from lemore_core.images.render import colorize
from lemore_core.taxonomy import (
    BUILT_IN,
    BUILT_IN_GROUPS,
    ClassGroups,
    Group,
    GroupsError,
    Taxonomy,
    TaxonomyError,
    load_groups,
    load_taxonomy,
)

GREEN, RED = (0, 255, 0), (255, 0, 0)
STREET = Taxonomy(
    'street', ('road', 'car', 'path', 'sky'), ((1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4))
)
WAY = Group('way', GREEN, ('path', 'road'))
THINGS = Group('things', RED, ('car',))


def groups_of(many: int) -> ClassGroups:
    """Return two groups of the first and the last class of many; the others are ignored."""
    names = tuple(f'c{i}' for i in range(many))
    table = Taxonomy('many', names, (RED,) * many)
    ends = (Group('first', RED, names[:1]), Group('last', GREEN, names[-1:]))
    return ClassGroups('ends', table, ends, names[1:-1])


def test_classes_become_groups() -> None:
    groups = ClassGroups('mine', STREET, (WAY, THINGS), ('sky',))
    labels = np.array([[0, 1, 2], [3, 255, 0]], np.uint8)
    found = groups.apply(labels)
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, 1, 0], [255, 255, 0]]
    assert groups.taxonomy == Taxonomy('mine', ('way', 'things'), (GREEN, RED))
    assert colorize(found, groups.taxonomy.palette)[0].tolist() == [
        [0, 255, 0],
        [255, 0, 0],
        [0, 255, 0],
    ]


def test_many_classes_become_8_bit_groups() -> None:
    groups = groups_of(300)
    found = groups.apply(np.array([[0, 299, 255, 65535]], np.uint16))
    assert found.dtype == groups.taxonomy.label_dtype == np.uint8
    assert found.tolist() == [[0, 1, 255, 255]]


def test_many_groups_stay_16_bit() -> None:
    table = groups_of(300).of
    groups = ClassGroups('each', table, tuple(Group(name, RED, (name,)) for name in table.classes))
    labels = np.array([[0, 299, 255, 65535]], np.uint16)
    assert groups.apply(labels).dtype == np.uint16
    assert groups.apply(labels).tolist() == labels.tolist()


def test_a_group_may_be_empty() -> None:
    groups = ClassGroups('mine', STREET, (Group('water', RED, ()), WAY, THINGS), ('sky',))
    assert groups.apply(np.array([0], np.uint8)).tolist() == [1]


@pytest.mark.parametrize(
    ('groups', 'ignored', 'expected'),
    [
        ((WAY, THINGS), (), r'in no group \(put them into one, or under ignore\): sky'),
        ((WAY, THINGS), ('sky', 'car'), 'in more than one place: car'),
        ((WAY, THINGS, Group('lane', RED, ('road',))), ('sky',), 'more than one place: road'),
        ((WAY, THINGS), ('sky', 'cra'), "do not fit 'street': unknown classes: cra$"),
        ((WAY, THINGS, Group('way', RED, ())), ('sky',), 'groups of the same name: way'),
        ((WAY, THINGS, Group('ignore', RED, ('sky',))), (), 'reserved names of groups'),
        ((WAY,), ('trees',), 'unknown classes: trees; classes in no group .*: car, sky'),
    ],
)
def test_groups_that_do_not_fit_are_refused(
    groups: tuple[Group, ...], ignored: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(GroupsError, match=expected):
        ClassGroups('mine', STREET, groups, ignored)


def test_what_is_no_table_is_refused_as_such() -> None:
    with pytest.raises(TaxonomyError, match="'mine' has 1 classes, it needs 2"):
        ClassGroups('mine', STREET, (WAY,), ('sky', 'car'))
    with pytest.raises(TaxonomyError, match="color of 'things' is"):
        ClassGroups('mine', STREET, (WAY, Group('things', (0, 0, 999), ('car',))), ('sky',))


def test_every_taxonomy_has_groups() -> None:
    assert BUILT_IN_GROUPS == BUILT_IN


@pytest.mark.parametrize('name', BUILT_IN)
def test_built_in_groups_are_the_same_in_all(name: str) -> None:
    groups = load_groups('auto', load_taxonomy(name))
    assert groups == load_groups(name, load_taxonomy(name))
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
    values = {
        'name': 'mine',
        'groups': [
            {'name': 'way', 'color': list(GREEN), 'classes': ['path', 'road']},
            {'name': 'things', 'color': list(RED), 'classes': ['car']},
        ],
        'ignore': ['sky'],
    }
    path.write_text(yaml.safe_dump(values), encoding='utf-8')
    assert load_groups(str(path), STREET) == ClassGroups('mine', STREET, (WAY, THINGS), ('sky',))


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('', r'mine\.yaml is None, allowed: fields and their values'),
        ('[1, 2]', r'mine\.yaml is \[1, 2\], allowed: fields'),
        ('groups: []', 'name is missing'),
        (
            'name: x\ngroups: [{name: a, classes: []}]',
            r'groups\[0\]: color is missing',
        ),
        (
            'name: x\ngroups: [{name: a, color: [1, 2, 3], classes: road}]',
            "classes is 'road', allowed: a list",
        ),
        ('name: x\ngroups: []\nignore: sky', "ignore is 'sky', allowed: a list"),
        ('name: [', 'cannot be read'),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(GroupsError, match=expected):
        load_groups(str(path), STREET)


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(GroupsError, match="called 'outdoor': give one of ade20k, camvid"):
        load_groups('outdoor', STREET)
    with pytest.raises(GroupsError, match="no class groups are called 'street'"):
        load_groups('auto', STREET)
    with pytest.raises(GroupsError, match=r'gone\.yaml cannot be read'):
        load_groups('gone.yaml', STREET)
    with pytest.raises(GroupsError, match="'camvid_groups' do not fit 'street': unknown classes"):
        load_groups('camvid', STREET)
