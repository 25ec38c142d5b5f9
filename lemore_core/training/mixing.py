"""Objects of rare classes copied from one image of a batch into another (ClassMix, WACV 2021)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lemore_core.taxonomy import UNLABELLED_8BIT

RIM = 2  # pixels of the donor around an object: a cut along its outline would give it away


def paste_objects(
    images: Tensor, masks: Tensor, classes: Tensor, chance: float
) -> tuple[Tensor, Tensor]:
    """Return the batch with the neighbour's pixels of ``classes`` pasted into some of its images.

    ``images`` is RGB (N, 3, H, W) uint8, ``masks`` class ids (N, H, W) uint8. An image is changed
    with probability ``chance``, by the torch generator of the step.
    """
    donors, labels = images.roll(1, 0), masks.roll(1, 0)
    taken = torch.isin(labels, classes)[:, None].float()
    taken = functional.max_pool2d(taken, 2 * RIM + 1, 1, RIM)[:, 0] > 0
    taken &= labels != UNLABELLED_8BIT
    taken &= (torch.rand(len(images), device=images.device) < chance)[:, None, None]
    return donors.where(taken[:, None], images), labels.where(taken, masks)


def rare_classes(frequencies: Tensor, share: float) -> Tensor:
    """Return the ids (int64) of the classes that fill less than ``share`` of the pixels."""
    return ((frequencies > 0) & (frequencies < share * frequencies.sum())).nonzero()[:, 0]
