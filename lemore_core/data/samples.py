"""One labelled image on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lemore_core.data.errors import DataError
from lemore_core.data.pixels import read_rgb
from lemore_core.data.readers import read_ids
from lemore_core.taxonomy import ClassGroups, Labels, Taxonomy, TaxonomyError

__all__ = ['DataError', 'MaskReader', 'Sample']

MaskReader = Callable[[Path, Taxonomy], Labels]


@dataclass(frozen=True)
class Sample:
    """Paths of an image and of the mask that labels it, in the classes of ``taxonomy``.

    ``reader`` knows the mask's file format.
    """

    image: Path
    mask: Path
    taxonomy: Taxonomy
    reader: MaskReader = read_ids

    def read_image(self) -> NDArray[np.uint8]:
        """Return the image, RGB (H, W, 3) uint8.

        Raises:
            DataError: the file is no readable image.
        """
        return read_rgb(self.image)

    def read_mask(self) -> NDArray[np.uint8]:
        """Return class ids, (H, W) uint8; pixels that the taxonomy ignores are 255.

        Raises:
            DataError: the file is no readable mask, or an id is not in the taxonomy.
        """
        try:
            return self.reader(self.mask, self.taxonomy).astype(np.uint8, copy=False)
        except TaxonomyError as error:
            msg = f'{self.mask}: {error}'
            raise DataError(msg) from error


def in_groups(sample: Sample, groups: ClassGroups) -> Sample:
    """Return a sample whose classes are the groups of its classes; it cannot be pickled."""

    def read(path: Path, _: Taxonomy) -> Labels:
        return groups.apply(sample.reader(path, sample.taxonomy))

    return replace(sample, taxonomy=groups.taxonomy, reader=read)
