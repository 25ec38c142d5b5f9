"""A labelled image on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lemore_core.data.readers import DataError, read_ids
from lemore_core.data.soft import SoftLabels, read_soft
from lemore_core.images.files import ImageFileError, read_image
from lemore_core.taxonomy import ClassGroups, Labels, Taxonomy, TaxonomyError

__all__ = ['DataError', 'MaskReader', 'Sample', 'in_groups']

MaskReader = Callable[[Path, Taxonomy], Labels]


@dataclass(frozen=True)
class Sample:
    """Paths of an image, its mask and soft labels (if any), in the classes of ``taxonomy``.

    ``reader`` decodes the mask.
    """

    image: Path
    mask: Path
    taxonomy: Taxonomy
    reader: MaskReader = read_ids
    soft: Path | None = None

    @property
    def missing(self) -> str:
        """An error that names the missing file, '' if both are there."""
        if not self.image.is_file():
            return f'there is no image {self.image} for the mask {self.mask}'
        if not self.mask.is_file():
            return f'{self.image} has no mask {self.mask}'
        has_soft = self.soft is None or self.soft.is_file()
        return '' if has_soft else f'{self.image} has no soft labels {self.soft}, as others have'

    def read_image(self) -> NDArray[np.uint8]:
        """Return the image, RGB (H, W, 3) uint8.

        Raises:
            DataError: the file is no readable image.
        """
        try:
            return read_image(self.image)
        except ImageFileError as error:
            raise DataError(str(error)) from error

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

    def read_pair(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the image and its class ids, see :meth:`read_image` and :meth:`read_mask`.

        Raises:
            DataError: a file is unreadable, or the two differ in size.
        """
        image, mask = self.read_image(), self.read_mask()
        if image.shape[:2] != mask.shape:
            msg = f'{self.image} is {image.shape[:2]}, its mask {mask.shape}'
            raise DataError(msg)
        return image, mask

    def read_soft(self) -> SoftLabels | None:
        """Return soft labels (2, n, h, w) uint8, see :mod:`lemore_core.data.soft`; None without.

        Raises:
            DataError: the file holds no soft labels of these classes.
        """
        return None if self.soft is None else read_soft(self.soft, len(self.taxonomy.classes))


def in_groups(sample: Sample, groups: ClassGroups) -> Sample:
    """Return a sample whose classes are the groups of its classes; it cannot be pickled."""

    def read(path: Path, _: Taxonomy) -> Labels:
        return groups.apply(sample.reader(path, sample.taxonomy))

    return replace(sample, taxonomy=groups.taxonomy, reader=read)
