"""Measure how familiar a scene is to a network, and how sure its labels are.

A network gives, besides logits, a descriptor of each image: mean and deviation over the image of
the tokens that enter its bottleneck. The distance of an image from the training images is the mean
of ``|descriptor - mean| / scale``. Distances of images that were trained on, or whose drive was,
are too small to compare with: each :class:`Fold` leaves drives out, and knows their distances.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError
from lemore_core.common.validation import REQUIRED, check_fields, option

if TYPE_CHECKING:
    from lemore_core.segmentation import Segmentation

MOST_FOLDS = 3
NAMED = 4  # drives in the name of a fold
QUANTILES = 65
# further from the training images than 95 % of the images of held-out drives
UNFAMILIAR = 0.05
STRIDE = 4  # of the pixels whose confidence is averaged
LEAST_SCALE = 0.05  # of the median: a channel that never changes must not outweigh all others
TEMPERATURES = np.geomspace(0.2, 5, 321)

Values = NDArray[np.floating]


class StatisticsError(LemoreError):
    """Statistics that are malformed, or those of another network."""


@dataclass(frozen=True)
class Fold:
    """Descriptors of the images of some drives, and distances of the others' images.

    ``mean`` and ``scale`` (n,) are of the descriptors; ``distances`` (``QUANTILES``,) ascend.
    """

    mean: tuple[float, ...] = option(REQUIRED, low=-1e30, high=1e30)
    scale: tuple[float, ...] = option(REQUIRED, low=1e-30, high=1e30)
    distances: tuple[float, ...] = option(REQUIRED, low=0, high=1e30)

    def __post_init__(self) -> None:
        check_fields(self, StatisticsError)

    @classmethod
    def of(cls, kept: Values, held_out: Values) -> Fold:
        """Measure descriptors (images, n), and the distances of held-out ones from them."""
        scale = kept.std(0)
        scale = np.maximum(scale, max(LEAST_SCALE * float(np.median(scale)), 1e-6))
        fold = cls(_rounded(kept.mean(0)), _rounded(scale), ())
        quantiles = np.quantile(fold.distance(held_out), np.linspace(0, 1, QUANTILES))
        return dataclasses.replace(fold, distances=_rounded(quantiles))

    def distance(self, descriptors: Values) -> Values:
        """Return the distances (images,) of descriptors (images, n)."""
        mean, scale = self._arrays
        return np.asarray(np.abs((descriptors - mean) / scale).mean(-1))

    @cached_property
    def _arrays(self) -> tuple[Values, Values]:
        return np.array(self.mean, np.float32), np.array(self.scale, np.float32)


def _rounded(values: Values) -> tuple[float, ...]:
    return tuple(float(f'{value:.4g}') for value in values)


@dataclass(frozen=True)
class SceneStatistics:
    """What a card knows of the training images; ``held_out`` names the drives of the folds.

    ``temperature`` calibrates the confidence of labels, ``None`` where no labels were known.
    """

    folds: tuple[Fold, ...]
    images: int = option(REQUIRED, low=1)
    held_out: tuple[str, ...] = ()
    temperature: float | None = option(None, low=0.01, high=100)

    def __post_init__(self) -> None:
        check_fields(self, StatisticsError)
        shapes = {(len(fold.mean), len(fold.scale), len(fold.distances)) for fold in self.folds}
        if shapes != {(self.size, self.size, QUANTILES)}:
            msg = f'folds of mean, scale and distances of the lengths {sorted(shapes)}'
            raise StatisticsError(msg)

    @property
    def size(self) -> int:
        """The length of a descriptor."""
        return len(self.folds[0].mean) if self.folds else 0

    def judge(self, result: Segmentation) -> Segmentation:
        """Return a result with its familiarity and sureness, as far as they are known."""
        familiarity = sureness = None
        if result.descriptor is not None:
            if len(result.descriptor) != self.size:
                found = f'{self.size} numbers, it gives {len(result.descriptor)}'
                msg = f'the scene statistics in the card are of another network: of {found}'
                raise StatisticsError(msg)
            further = [f.distances >= f.distance(result.descriptor) for f in self.folds]
            familiarity = float(np.mean(further))
        if self._confidence is not None:
            sureness = float(self._confidence[result.confidence[::STRIDE, ::STRIDE]].mean())
        return dataclasses.replace(result, familiarity=familiarity, sureness=sureness)

    @cached_property
    def _confidence(self) -> NDArray[np.float32] | None:
        return None if self.temperature is None else calibrated(self.temperature)

    @classmethod
    def of(cls, drives: Mapping[str, Values], held_out: Collection[str] = ()) -> SceneStatistics:
        """Measure the descriptors (images, n) of each drive.

        Drives ``held_out`` were not trained on: their distances count. Without any, each of up to
        three groups of drives (or of parts of a single one) is left out of the others in turn.
        """
        folds = folds_of(drives, held_out)
        images = sum(map(len, drives.values()))
        return cls(tuple(Fold.of(*pair) for pair in folds.values()), images, tuple(folds))


def folds_of(
    drives: Mapping[str, Values], held_out: Collection[str] = ()
) -> dict[str, tuple[Values, Values]]:
    """Return the descriptors kept and held out in each fold of :meth:`SceneStatistics.of`."""
    groups = [list(held_out)] if held_out else []
    if not held_out and len(drives) == 1:
        parts = np.array_split(next(iter(drives.values())), MOST_FOLDS)
        drives = {f'part {number}': part for number, part in enumerate(parts, 1) if len(part)}
    if len(drives) < 2:
        msg = f'{sum(map(len, drives.values()))} images are too few to compare with: give more'
        raise StatisticsError(msg)
    # the largest first, each to the group of the fewest images
    for name in sorted(drives, key=lambda name: -len(drives[name])) if not groups else ():
        if len(groups) < MOST_FOLDS:
            groups.append([name])
        else:
            min(groups, key=lambda group: sum(len(drives[n]) for n in group)).append(name)
    return {
        ', '.join(group[:NAMED]) + ', …' * (len(group) > NAMED): (
            np.concatenate([v for name, v in drives.items() if name not in group]),
            np.concatenate([drives[name] for name in group]),
        )
        for group in groups
    }


class SceneLog:
    """Figures of frames by their names, in one line."""

    def __init__(self) -> None:
        self._frames: list[tuple[float, float, str]] = []

    def add(self, name: str, result: Segmentation) -> None:
        """Add a frame; one of unknown familiarity is left out."""
        if result.familiarity is not None:
            sureness = math.nan if result.sureness is None else result.sureness
            self._frames.append((result.familiarity, sureness, name))

    @property
    def unfamiliar(self) -> list[str]:
        """The names of the frames that are unlike the training data, in their order."""
        return [name for familiarity, _, name in self._frames if familiarity < UNFAMILIAR]

    def __str__(self) -> str:
        if not self._frames:
            return 'familiarity is unknown'
        familiarity, sureness = np.array(self._frames, object).T[:2].astype(float)
        sure = '' if np.isnan(sureness).any() else f', mean confidence {sureness.mean():.2f}'
        text = f'familiarity {np.median(familiarity):.2f} in the median{sure}'
        if names := self.unfamiliar:
            text += (
                f'; {len(names)} of {len(self._frames)} images are unlike the training data '
                f'(familiarity below {UNFAMILIAR}), from {names[0]} to {names[-1]}'
            )
        return text


def calibrated(temperature: float) -> NDArray[np.float32]:
    """Return the calibrated confidence 0..1 of each value 0..255: its log odds over a temperature.

    For two classes this is temperature scaling (Guo et al., ICML 2017).
    """
    shares = np.clip(np.arange(256) / 255, 1e-3, 1 - 1e-3)
    odds = np.log(shares / (1 - shares)) / temperature
    return (1 / (1 + np.exp(-odds))).astype(np.float32)


def fit_temperature(counts: NDArray[np.int64], hits: NDArray[np.int64]) -> float | None:
    """Return the temperature of the least log loss; ``None`` without pixels.

    ``counts`` and ``hits`` (256,) are the pixels of each confidence, and the right ones of them.
    """
    if not counts.any():
        return None
    shares = np.clip([calibrated(one) for one in TEMPERATURES], 1e-6, 1 - 1e-6, dtype=np.float64)
    losses = -(hits * np.log(shares) + (counts - hits) * np.log(1 - shares)).sum(1)
    return float(f'{TEMPERATURES[losses.argmin()]:.4g}')
