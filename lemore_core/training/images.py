"""Load, order, augment, batch and mix the images of a run.

The images of a step follow from the seed and the step alone: a resumed run sees the same images as
an unbroken one, and several processes see together the images of a single one.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from lemore_core.common.child import worker_processes
from lemore_core.data.augment import Augmentation
from lemore_core.data.samples import Sample
from lemore_core.taxonomy import UNLABELLED_8BIT

Layers = tuple[NDArray[np.uint8], ...]  # image, mask, and soft labels if there are any
Batch = tuple[Tensor, ...]

SIZES = 1  # separates the seeds of sizes and images
CACHE_BYTES = 2 << 30  # decoded images kept in memory by each loading process
RIM = 2  # pixels of the donor around an object: a cut along its outline would give it away


def tensors(image: NDArray[np.uint8], *labels: NDArray[np.uint8]) -> Batch:
    """Return RGB (3, H, W) uint8, and the labels unchanged."""
    return torch.from_numpy(image).permute(2, 0, 1), *map(torch.from_numpy, labels)


@dataclass(eq=False)
class AugmentedImages(Dataset[Batch]):
    """Samples augmented as a function of the seed and their position in the order.

    The key of an item is (position, index); the item is RGB (3, h, w), class ids (h, w), and soft
    labels if any (2, n, h / 4, w / 4), uint8. Each step of ``batch`` items is augmented by one of
    ``augmentations``, so that all its items have one size.
    """

    samples: list[Sample]
    augmentations: Sequence[Augmentation]
    seed: int
    batch: int
    cache: dict[int, Layers] = field(default_factory=dict)
    cached_bytes: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        position, index = key
        sizes = np.random.default_rng([self.seed, position // self.batch, SIZES])
        augmentation = self.augmentations[int(sizes.integers(len(self.augmentations)))]
        random = np.random.default_rng([self.seed, position])
        image, mask, *soft = self._layers(index)
        return tensors(*augmentation(image, mask, random, *soft))

    def _layers(self, index: int) -> Layers:
        if index in self.cache:
            return self.cache[index]
        sample = self.samples[index]
        soft = sample.read_soft()
        layers = (*sample.read_pair(), *(() if soft is None else (soft,)))
        size = sum(layer.nbytes for layer in layers)
        if self.cached_bytes + size <= CACHE_BYTES:
            self.cache[index] = layers
            self.cached_bytes += size
        return layers


@dataclass(eq=False)
class WholeImages(Dataset[Batch]):
    """Samples without augmentation: RGB (3, H, W) uint8 and class ids (H, W) uint8."""

    samples: list[Sample]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Batch:
        return tensors(*self.samples[index].read_pair())


@dataclass(eq=False)
class StepSampler(Sampler[tuple[int, int]]):
    """One process's share of the images of an epoch of ``steps`` steps, as (position, index).

    The endless order of ``length`` images is a new permutation at each pass. The epoch begins with
    the step that ``first_step`` returns: the one before may have been cut short.
    """

    length: int
    seed: int
    first_step: Callable[[], int]
    steps: int
    batch: int
    process: int = 0
    processes: int = 1

    def __len__(self) -> int:
        return self.steps * self.batch // self.processes

    def __iter__(self) -> Iterator[tuple[int, int]]:
        positions = self.positions(self.first_step() * self.batch)
        return islice(positions, self.process, self.steps * self.batch, self.processes)

    def positions(self, start: int) -> Iterator[tuple[int, int]]:
        """Yield (position, image index) from the position ``start`` on."""
        first, skipped = divmod(start, self.length)
        for number in count(first):
            indices = np.random.default_rng([self.seed, number]).permutation(self.length)
            for place in range(skipped, self.length):
                yield number * self.length + place, int(indices[place])
            skipped = 0


def load_batches(
    images: Dataset[Batch], batch: int, workers: int, **options: Any
) -> DataLoader[Batch]:
    """Return one process's batches, by default in the order of the images."""
    return DataLoader(
        images,
        batch,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=worker_processes() if workers else None,
        worker_init_fn=one_thread,
        **options,
    )


def one_thread(_: int = 0) -> None:
    """Leave the cores to the training step and to the other workers, and signals to the run."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def paste_objects(
    images: Tensor, masks: Tensor, classes: Tensor, chance: float
) -> tuple[Tensor, Tensor]:
    """Paste its neighbour's pixels of ``classes`` into an image with probability ``chance``.

    This is ClassMix (Olsson et al., WACV 2021), of (N, 3, H, W) and class ids (N, H, W), uint8.
    """
    donors, labels = images.roll(1, 0), masks.roll(1, 0)
    taken = torch.isin(labels, classes)[:, None].float()
    taken = functional.max_pool2d(taken, 2 * RIM + 1, 1, RIM)[:, 0] > 0
    taken &= labels != UNLABELLED_8BIT
    taken &= (torch.rand(len(images), device=images.device) < chance)[:, None, None]
    return donors.where(taken[:, None], images), labels.where(taken, masks)


def frequency_weights(counts: NDArray[np.int64], power: float) -> NDArray[np.float32]:
    """Weigh the classes of ``counts`` (classes,) by inverse frequency; pixels' mean is one."""
    share = np.maximum(counts.astype(np.float64), 1.0)
    share /= share.sum()
    weights = share**-power
    return np.asarray(weights / (weights * share).sum(), np.float32)


def rare_classes(frequencies: Tensor, share: float) -> Tensor:
    """Return the ids (int64) of the classes that fill less than ``share`` of the pixels."""
    return ((frequencies > 0) & (frequencies < share * frequencies.sum())).nonzero()[:, 0]
