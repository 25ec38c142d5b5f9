"""CamVid as the SegNet tutorial lays it out: ``<split>/*`` and ``<split>annot/*.png``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.errors import LemoreError
from lemore_core.taxonomy import UNLABELLED_8BIT, Taxonomy


class DataError(LemoreError):
    """A data set whose layout, images or masks are not what they must be."""


@dataclass(frozen=True)
class Sample:
    """Paths of an image and of the mask that labels it."""

    image: Path
    mask: Path

    def read_image(self) -> NDArray[np.uint8]:
        """Return the image, RGB (H, W, 3) uint8.

        Raises:
            DataError: the file is no readable image.

        """
        image = cv2.imread(str(self.image), cv2.IMREAD_COLOR)
        if image is None:
            msg = f'{self.image} is no readable image'
            raise DataError(msg)
        return np.ascontiguousarray(image[..., ::-1], np.uint8)

    def read_mask(self, taxonomy: Taxonomy) -> NDArray[np.uint8]:
        """Return class ids, (H, W) uint8; ids that the taxonomy ignores become 255.

        Raises:
            DataError: the file is no readable one-channel image, or an id is not in the taxonomy.

        """
        mask = cv2.imread(str(self.mask), cv2.IMREAD_UNCHANGED)
        if mask is None or mask.ndim != 2:
            msg = f'{self.mask} is no readable one-channel label image'
            raise DataError(msg)
        labels = np.where(np.isin(mask, taxonomy.ignored), UNLABELLED_8BIT, mask)
        strangers = np.setdiff1d(labels, [*range(len(taxonomy.classes)), UNLABELLED_8BIT])
        if strangers.size:
            msg = f'{self.mask} holds ids {strangers.tolist()}, unknown to {taxonomy.name!r}'
            raise DataError(msg)
        return labels.astype(np.uint8)


def list_samples(root: Path, split: str) -> list[Sample]:
    """Return the samples of a split, by name.

    Raises:
        DataError: the folders are missing or empty, or an image has no mask.

    """
    images, masks = root / split, root / f'{split}annot'
    for folder in (images, masks):
        if not folder.is_dir():
            msg = f'there is no folder {folder}: CamVid needs {split}/ and {split}annot/ in {root}'
            raise DataError(msg)
    samples = [Sample(path, masks / f'{path.stem}.png') for path in sorted(images.iterdir())]
    if not samples:
        msg = f'{images} holds no images'
        raise DataError(msg)
    for sample in samples:
        if not sample.mask.is_file():
            msg = f'{sample.image} has no mask {sample.mask}'
            raise DataError(msg)
    return samples
