"""Class tables: names and colours of label ids, groups of classes, masks."""

from lemore_core.taxonomy.groups import BUILT_IN_GROUPS, ClassGroups, load_groups, mask_tables
from lemore_core.taxonomy.taxonomy import (
    BUILT_IN,
    UNLABELLED_8BIT,
    Labels,
    Taxonomy,
    TaxonomyError,
    load_taxonomy,
)

__all__ = [
    'BUILT_IN',
    'BUILT_IN_GROUPS',
    'UNLABELLED_8BIT',
    'ClassGroups',
    'Labels',
    'Taxonomy',
    'TaxonomyError',
    'load_groups',
    'load_taxonomy',
    'mask_tables',
]
