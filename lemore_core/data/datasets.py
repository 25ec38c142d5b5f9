"""Open data sets in the layouts of their distributors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lemore_core.data.layouts import CLASSES, LAYOUTS, folder
from lemore_core.data.samples import DataError, Sample
from lemore_core.taxonomy import BUILT_IN, Taxonomy, load_taxonomy

OWN = 'folder'
DATASETS = (*BUILT_IN, OWN)


@dataclass(frozen=True)
class Dataset:
    """A data set on disk: its taxonomy, and its samples by split."""

    name: str
    root: Path
    taxonomy: Taxonomy

    def __post_init__(self) -> None:
        if self.taxonomy.label_dtype is not np.uint8:
            msg = f'{self.name} has {len(self.taxonomy.classes)} classes, masks hold at most 255'
            raise DataError(msg)

    def samples(self, split: str) -> list[Sample]:
        """Return the samples of a split ('train', 'val' or another of the data set), by name.

        Raises:
            DataError: the folders are missing or empty, an image has no mask or a mask no image.
        """
        samples = self.listing(split)
        messages = [sample.missing for sample in samples if sample.missing]
        if messages:
            more = len(messages) - 1
            msg = messages[0] + (f', and {more} more lack theirs' if more else '')
            raise DataError(msg)
        return samples

    def listing(self, split: str) -> list[Sample]:
        """Return the samples of a split, also those with a missing image or mask.

        Raises:
            DataError: the folders are missing or empty.
        """
        return LAYOUTS.get(self.name, folder)(self.root, split, self.taxonomy)


def open_dataset(name: str, root: Path) -> Dataset:
    """Return the data set ``name`` in the folder ``root``.

    Raises:
        DataError: there is no data set of that name, or no such folder.
        TaxonomyError: the classes of a user's own data set cannot be read.
    """
    if name not in DATASETS:
        msg = f'no data set is called {name!r}: give one of {", ".join(DATASETS)}'
        raise DataError(msg)
    if not root.is_dir():
        msg = f'there is no folder {root}'
        raise DataError(msg)
    return Dataset(name, root, load_taxonomy(str(root / CLASSES) if name == OWN else name))
