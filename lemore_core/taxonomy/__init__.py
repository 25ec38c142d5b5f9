"""Class tables: what the ids of a label image mean, and the colours they are drawn in."""

from lemore_core.taxonomy.taxonomy import (
    BUILT_IN,
    UNLABELLED_8BIT,
    Labels,
    Taxonomy,
    TaxonomyError,
    load_taxonomy,
)

__all__ = ['BUILT_IN', 'UNLABELLED_8BIT', 'Labels', 'Taxonomy', 'TaxonomyError', 'load_taxonomy']
