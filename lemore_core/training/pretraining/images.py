"""The images of a pre-training, with the class of each."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from lemore_core.data.image_folder import LabelledImages
from lemore_core.data.resized_crop import ResizedCrop, center_crop
from lemore_core.training.images import Batch


class CroppedImages(Dataset[Batch]):
    """Random crops as a function of the seed and their position in the order.

    An item is asked for by (position, index) and is RGB (3, size, size) uint8 with a class id, ()
    int64.
    """

    def __init__(self, images: LabelledImages, crop: ResizedCrop, seed: int) -> None:
        self.images = images
        self.crop = crop
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        position, index = key
        random = np.random.default_rng([self.seed, position])
        image = self.crop(self.images.read(index), random)
        return torch.from_numpy(image).permute(2, 0, 1), torch.tensor(self.images.labels[index])


class CentredImages(Dataset[Batch]):
    """The middle of each image, for validation: RGB (3, size, size) uint8 and a class id."""

    def __init__(self, images: LabelledImages, size: int) -> None:
        self.images = images
        self.size = size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Batch:
        image = center_crop(self.images.read(index), self.size)
        return torch.from_numpy(image).permute(2, 0, 1), torch.tensor(self.images.labels[index])
