"""Choose the images of a step, and weigh its classes.

The images follow from the seed and the step alone: a resumed run sees the same images as an
unbroken one, and several processes see together the images of a single one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler


@dataclass(eq=False)
class StepSampler(Sampler[tuple[int, int]]):
    """One process's share of the images of an epoch of ``steps`` steps, as (position, index).

    The endless order of ``length`` images is a new permutation at each pass. With ``shares``
    (length,), which sum to one, images are drawn with these probabilities instead.

    The epoch begins with the step that ``first_step`` returns: the one before may have been cut
    short. ``batch`` images make a step, every ``processes``-th of them for one process.
    """

    length: int
    seed: int
    first_step: Callable[[], int]
    steps: int
    batch: int
    shares: NDArray[np.float64] | None = None
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
            random = np.random.default_rng([self.seed, number])
            if self.shares is None:
                indices = random.permutation(self.length)
            else:
                indices = random.choice(self.length, self.length, p=self.shares)
            for place in range(skipped, self.length):
                yield number * self.length + place, int(indices[place])
            skipped = 0


def balanced_shares(counts: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """Return how often to draw each image so that rare classes are seen often.

    ``counts`` (images, classes) are pixels. A class is drawn with a probability that falls with
    its frequency (softmax of ``(1 - frequency) / temperature``, Hoyer et al., CVPR 2022), then one
    of the images that hold it. Low temperatures favour rare classes most.
    """
    total = counts.sum(0).astype(np.float64)
    present = counts > 0
    used = present.any(0)
    rarity = np.where(used, (1 - total / max(total.sum(), 1)) / temperature, -np.inf)
    weights = np.exp(rarity - rarity.max())  # relative to the rarest: large powers overflow
    by_class = weights / weights.sum() / np.maximum(present.sum(0), 1)
    shares: NDArray[np.float64] = present @ by_class
    return np.asarray(shares / shares.sum())


def frequency_weights(counts: NDArray[np.int64], power: float) -> NDArray[np.float32]:
    """Weigh each class by its inverse frequency to a power; the mean over pixels is one.

    ``counts`` is (images, classes).
    """
    share = np.maximum(counts.sum(0).astype(np.float64), 1.0)
    share /= share.sum()
    weights = share**-power
    weights /= (weights * share).sum()
    return np.asarray(weights, np.float32)


def rare_classes(frequencies: Tensor, share: float) -> Tensor:
    """Return the ids (int64) of the classes that fill less than ``share`` of the pixels."""
    return ((frequencies > 0) & (frequencies < share * frequencies.sum())).nonzero()[:, 0]
