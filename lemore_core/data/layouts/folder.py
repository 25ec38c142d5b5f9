"""A user's own data set: ``images/<split>/**``, ``masks/<split>/**`` with the same names.

The classes stand in ``classes.yaml``. A mask holds ids, or the classes' colours as RGB.
"""

from __future__ import annotations

from pathlib import Path

from lemore_core.data.layouts.pairs import first_folder, paired
from lemore_core.data.readers import read_ids_or_colors
from lemore_core.data.samples import Sample
from lemore_core.images.files import SUFFIXES
from lemore_core.taxonomy import Taxonomy

CLASSES = 'classes.yaml'
# formats that keep ids as they are
MASKS = ('.png', '.bmp', '.tif', '.tiff')


def folder(root: Path, split: str, taxonomy: Taxonomy) -> list[Sample]:
    """List a split, see :class:`~lemore_core.data.layouts.Layout`."""
    needs = (
        f'a data set of your own needs images/{split}/ and masks/{split}/ in {root}, with the same '
        f'names in both but for the suffix: images/{split}/a/1.jpg and masks/{split}/a/1.png'
    )
    return pairs(
        first_folder(root, [f'images/{split}'], needs),
        first_folder(root, [f'masks/{split}'], needs),
        taxonomy,
    )


def pairs(images: Path, masks: Path, taxonomy: Taxonomy) -> list[Sample]:
    """Return the images and masks below two folders that have the same names but for the suffix.

    Raises:
        DataError: see :func:`lemore_core.data.layouts.pairs.paired`.
    """
    return paired(
        images,
        masks,
        taxonomy,
        image_ends=SUFFIXES,
        mask_readers=dict.fromkeys(MASKS, read_ids_or_colors),
    )
