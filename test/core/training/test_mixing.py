from __future__ import annotations

import torch

from lemore_core.training.mixing import RIM, paste_objects, rare_classes


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Return two images of road (3), 10 and 200 bright; the second has a pole (2) in its middle."""
    images = torch.tensor([10, 200], dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 20, 30)
    masks = torch.full((2, 20, 30), 3, dtype=torch.uint8)
    masks[1, 5:15, 14:16] = 2
    return images, masks


def test_a_rare_object_is_pasted_with_its_labels_and_a_rim() -> None:
    images, masks = batch()
    mixed, labels = paste_objects(images, masks, torch.tensor([2]), 1.0)
    assert torch.equal(labels[0] == 2, masks[1] == 2)
    pasted = torch.zeros(20, 30, dtype=torch.bool)
    pasted[5 - RIM : 15 + RIM, 14 - RIM : 16 + RIM] = True
    assert torch.equal(mixed[0, 0] == 200, pasted)
    # the first image has no pole to give
    assert torch.equal(mixed[1], images[1])
    assert torch.equal(labels[1], masks[1])
    assert mixed.dtype == labels.dtype == torch.uint8


def test_unlabelled_pixels_of_a_donor_are_left_with_it() -> None:
    images, masks = batch()
    masks[1, :, 16:] = 255
    mixed, labels = paste_objects(images, masks, torch.tensor([2]), 1.0)
    assert not (labels[0] == 255).any()
    assert (mixed[0, :, :, 16:] == 10).all()


def test_without_a_chance_nothing_is_pasted() -> None:
    images, masks = batch()
    mixed, labels = paste_objects(images, masks, torch.tensor([2]), 0.0)
    assert torch.equal(mixed, images)
    assert torch.equal(labels, masks)


def test_a_rare_class_occurs_but_seldom() -> None:
    assert rare_classes(torch.tensor([900, 80, 20, 0]), 0.03).tolist() == [2]
    assert rare_classes(torch.tensor([900, 80, 20, 0]), 0.1).tolist() == [1, 2]
