"""The images of a run: loaded, augmented, batched."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lemore_core.data.augment import Augmentation
from lemore_core.data.samples import DataError, Sample
from lemore_core.training.sampling import StepSampler

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Batch = tuple[Tensor, Tensor]

SIZES = 1  # sets the seeds of the sizes apart
CACHE_BYTES = 2 << 30  # decoded images kept in memory by each loading process


def read_pair(sample: Sample) -> Pair:
    """Return RGB (H, W, 3) uint8 and class ids (H, W) uint8.

    Raises:
        DataError: a file is unreadable, or image and mask differ in size.
    """
    image, mask = sample.read_image(), sample.read_mask()
    if image.shape[:2] != mask.shape:
        msg = f'{sample.image} is {image.shape[:2]}, its mask {sample.mask} is {mask.shape}'
        raise DataError(msg)
    return image, mask


class AugmentedImages(Dataset[Batch]):
    """Samples augmented as a function of the seed and their position in the order.

    An item is asked for by (position, index) and is RGB (3, height, width) uint8 with class ids
    (height, width) uint8. What fits into memory is decoded only once. Each step of ``batch`` items
    is augmented by one of ``augmentations``, so that all its items have one size.
    """

    def __init__(
        self,
        samples: list[Sample],
        augmentations: Sequence[Augmentation],
        seed: int,
        batch: int = 1,
    ) -> None:
        self.samples = samples
        self.augmentations = augmentations
        self.seed = seed
        self.batch = batch
        self.cache: dict[int, Pair] = {}
        self.cached_bytes = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        position, index = key
        random = np.random.default_rng([self.seed, position])
        image, mask = self._augmentation(position // self.batch)(*self._pair(index), random)
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask)

    def _augmentation(self, step: int) -> Augmentation:
        if len(self.augmentations) == 1:
            return self.augmentations[0]
        # numbers apart from those of the items, which are seeded by two
        random = np.random.default_rng([self.seed, step, SIZES])
        return self.augmentations[int(random.integers(len(self.augmentations)))]

    def _pair(self, index: int) -> Pair:
        pair = self.cache.get(index)
        if pair is None:
            pair = read_pair(self.samples[index])
            size = pair[0].nbytes + pair[1].nbytes
            if self.cached_bytes + size <= CACHE_BYTES:
                self.cache[index] = pair
                self.cached_bytes += size
        return pair


class WholeImages(Dataset[Batch]):
    """Samples as they are, for validation: RGB (3, H, W) uint8 and class ids (H, W) uint8."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Batch:
        image, mask = read_pair(self.samples[index])
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask)


def training_loader(
    images: Dataset[Batch], sampler: StepSampler, *, workers: int, pin: bool
) -> DataLoader[Batch]:
    """Return one process's batches of an epoch."""
    return DataLoader(
        images,
        sampler.batch // sampler.processes,
        sampler=sampler,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin,
        # a fork would inherit locks that OpenCV's threads held, and wait for them forever
        multiprocessing_context='spawn' if workers else None,
        worker_init_fn=one_thread,
    )


def validation_loader(images: Dataset[Batch], *, batch: int, workers: int) -> DataLoader[Batch]:
    """Return one process's images of a validation, in their order."""
    return DataLoader(
        images,
        batch,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context='spawn' if workers else None,
        worker_init_fn=one_thread,
    )


def one_thread(_: int = 0) -> None:
    """Leave the cores to the training step and to the other workers, and Ctrl-C to the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
