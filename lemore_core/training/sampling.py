"""Which images a step sees: a function of the seed and the step alone.

Nothing of it is state, so a run that was killed goes on as if it had not been, and two processes
see together what one would have seen alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


@dataclass(frozen=True)
class Order:
    """The endless order of ``length`` images, by position: a new permutation at each pass.

    With ``shares`` (length,), which sum to one, images are drawn with these probabilities
    instead.
    """

    length: int
    seed: int
    shares: NDArray[np.float64] | None = None

    def pass_over(self, number: int) -> NDArray[np.int64]:
        """Return the ``length`` image indices of a pass."""
        random = np.random.default_rng([self.seed, number])
        if self.shares is None:
            return random.permutation(self.length)
        return random.choice(self.length, self.length, p=self.shares)

    def positions(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield (position, image index) from ``start`` up to ``end``."""
        current, indices = -1, np.empty(0, np.int64)
        for position in range(start, end):
            number, place = divmod(position, self.length)
            if number != current:
                current, indices = number, self.pass_over(number)
            yield position, int(indices[place])


class StepSampler(Sampler[tuple[int, int]]):
    """Yields one process's share of the images of ``steps`` steps, as (position, index).

    An epoch is that many steps from the one on that ``first_step`` returns when it begins: the
    epoch before may have been broken off. ``batch`` images make a step, every ``processes``-th of
    them for one process.
    """

    def __init__(
        self,
        order: Order,
        first_step: Callable[[], int],
        *,
        steps: int,
        batch: int,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.order = order
        self.steps = steps
        self.batch = batch
        self.process = process
        self.processes = processes
        self.first_step = first_step

    def __len__(self) -> int:
        return self.steps * self.batch // self.processes

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first = self.first_step() * self.batch
        for position, index in self.order.positions(first, first + self.steps * self.batch):
            if position % self.processes == self.process:
                yield position, index


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
