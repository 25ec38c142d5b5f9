"""Data sets in the layouts in which they are distributed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lemore_core.data.errors import DataError
from lemore_core.data.layouts import LAYOUTS, folder
from lemore_core.data.layouts.folder import CLASSES
from lemore_core.data.samples import Sample
from lemore_core.taxonomy import BUILT_IN, Taxonomy, load_taxonomy

OWN = 'folder'
DATASETS = (*BUILT_IN, OWN)


@dataclass(frozen=True)
class Dataset:
    """A data set on this disk: its taxonomy, and its samples by split."""

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
        broken = [missing(sample) for sample in samples]
        messages = [message for message in broken if message]
        if messages:
            more = len(messages) - 1
            msg = messages[0] + (f', and {more} more lack theirs' if more else '')
            raise DataError(msg)
        return samples

    def listing(self, split: str) -> list[Sample]:
        """Return the samples of a split, with those whose image or mask is not there.

        Raises:
            DataError: the folders are missing or empty.
        """
        return LAYOUTS.get(self.name, folder)(self.root, split, self.taxonomy)


def missing(sample: Sample) -> str:
    """Say which file of a sample is not there; nothing when both are."""
    if not sample.image.is_file():
        return f'there is no image {sample.image} for the mask {sample.mask}'
    if not sample.mask.is_file():
        return f'{sample.image} has no mask {sample.mask}'
    return ''


def open_dataset(name: str, root: Path) -> Dataset:
    """Return the data set called ``name`` that lies in ``root``.

    Raises:
        DataError: no data set has that name, or the root is no folder.
        TaxonomyError: the classes of a user's own data set cannot be read.
    """
    if name not in DATASETS:
        msg = f'no data set is called {name!r}: give one of {", ".join(DATASETS)}'
        raise DataError(msg)
    if not root.is_dir():
        msg = f'there is no folder {root}'
        raise DataError(msg)
    return Dataset(name, root, load_taxonomy(str(root / CLASSES) if name == OWN else name))
