from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from lemore_core.training.images import (
    RIM,
    StepSampler,
    frequency_weights,
    paste_objects,
    rare_classes,
)


def sampler(length: int, seed: int, **options: Any) -> StepSampler:
    return StepSampler(length, seed, **{'first_step': lambda: 8, 'steps': 4, 'batch': 6, **options})


def drawn(length: int, seed: int, start: int, end: int) -> list[tuple[int, int]]:
    return list(islice(sampler(length, seed).positions(start), end - start))


def test_each_pass_covers_each_image_once_in_another_order() -> None:
    found = drawn(7, 3, 0, 21)
    assert [position for position, _ in found] == list(range(21))
    passes = [[index for _, index in found[i : i + 7]] for i in (0, 7, 14)]
    assert all(sorted(indices) == list(range(7)) for indices in passes)
    assert len({tuple(indices) for indices in passes}) == 3
    assert drawn(7, 4, 0, 7) != found[:7]
    # a position says the same wherever one begins
    assert drawn(7, 3, 8, 16) == found[8:16]


def test_epochs_continue_where_the_last_one_ended() -> None:
    steps = iter([0, 3, 5])  # the second epoch was broken off after two of its three steps
    epochs = sampler(5, 1, first_step=lambda: next(steps), steps=3, batch=4)
    assert len(epochs) == 12
    seen = list(epochs) + list(epochs)[:8] + list(epochs)
    assert seen == drawn(5, 1, 0, 32)


def test_two_processes_see_together_what_one_sees() -> None:
    alone = sampler(9, 2)
    shares = [sampler(9, 2, process=i, processes=2) for i in (0, 1)]
    first, second = (list(share) for share in shares)
    assert len(first) == len(second) == len(shares[0]) == 12
    assert [pair for pairs in zip(first, second, strict=True) for pair in pairs] == list(alone)


def test_rare_classes_weigh_more_and_pixels_one_on_average() -> None:
    counts = np.array([80, 10])
    weights = frequency_weights(counts, 0.5)
    assert weights.dtype == np.float32
    assert weights[1] / weights[0] == pytest.approx((80 / 10) ** 0.5)
    assert float(weights[0] * 80 + weights[1] * 10) / 90 == pytest.approx(1.0)
    assert frequency_weights(counts, 0.0).tolist() == [1, 1]
    # absent classes have a finite weight
    weights = frequency_weights(np.array([90, 10, 0]), 0.5)
    assert np.isfinite(weights).all()
    assert weights[2] > weights[1] > weights[0]
    # a rare class occurs, but seldom
    assert rare_classes(torch.tensor([900, 80, 20, 0]), 0.03).tolist() == [2]
    assert rare_classes(torch.tensor([900, 80, 20, 0]), 0.1).tolist() == [1, 2]


def test_a_rare_object_is_pasted_with_its_labels_and_a_rim() -> None:
    # two images of road (3), 10 and 200 bright; the second has a pole (2) in its middle
    images = torch.tensor([10, 200], dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 20, 30)
    masks = torch.full((2, 20, 30), 3, dtype=torch.uint8)
    masks[1, 5:15, 14:16] = 2
    mixed, labels = paste_objects(images, masks, torch.tensor([2]), 1.0)
    assert torch.equal(labels[0] == 2, masks[1] == 2)
    pasted = torch.zeros(20, 30, dtype=torch.bool)
    pasted[5 - RIM : 15 + RIM, 14 - RIM : 16 + RIM] = True
    assert torch.equal(mixed[0, 0] == 200, pasted)
    # the first image has no pole to give
    assert torch.equal(mixed[1], images[1])
    assert torch.equal(labels[1], masks[1])
    assert mixed.dtype == labels.dtype == torch.uint8
    # without a chance nothing is pasted
    mixed, labels = paste_objects(images, masks, torch.tensor([2]), 0.0)
    assert torch.equal(mixed, images)
    assert torch.equal(labels, masks)
    # unlabelled pixels of a donor are left with it
    masks[1, :, 16:] = 255
    mixed, labels = paste_objects(images, masks, torch.tensor([2]), 1.0)
    assert not (labels[0] == 255).any()
    assert (mixed[0, :, :, 16:] == 10).all()
