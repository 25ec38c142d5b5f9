from __future__ import annotations

import numpy as np
import pytest

from lemore_core.taxonomy import GroupsError, Taxonomy, load_groups, load_taxonomy, mask_tables

CAMVID = load_taxonomy('camvid')


def test_a_mask_is_of_a_class_or_of_a_group() -> None:
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


def test_a_table_of_ones_own_has_masks_of_its_classes() -> None:
    own = Taxonomy('mine', ('soil', 'crop'), ((1, 2, 3), (4, 5, 6)))
    assert mask_tables(['crop'], own)['crop'][1] == 255
    with pytest.raises(GroupsError, match='there are: crop, soil'):
        mask_tables(['dynamic'], own)
