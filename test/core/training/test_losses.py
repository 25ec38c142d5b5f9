from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lemore_core.training.losses import (
    Objective,
    cross_entropy,
    distillation_loss,
    lovasz_softmax,
    sample_grid,
)


def batch(seed: int = 0, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Return logits (2, classes, 6, 8) and ids (2, 6, 8), a fifth of them 255."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, 6, 8, generator=random)
    targets = torch.randint(classes, (2, 6, 8), generator=random)
    targets[torch.rand(2, 6, 8, generator=random) < 0.2] = 255
    return logits, targets


@pytest.mark.parametrize('size', [(48, 64), (45, 61)])
@pytest.mark.parametrize(('stride', 'offset'), [(1, (0, 0)), (2, (0, 0)), (2, (1, 0)), (3, (2, 1))])
def test_the_grid_is_a_part_of_the_upsampled_image(
    size: tuple[int, int], stride: int, offset: tuple[int, int]
) -> None:
    logits, _ = batch()
    targets = torch.randint(4, (2, *size))
    whole = functional.interpolate(logits, size, mode='bilinear', align_corners=False)
    top, left = offset
    sampled, labels = sample_grid(logits, targets, stride, offset)
    assert torch.allclose(sampled, whole[:, :, top::stride, left::stride], atol=1e-5)
    assert torch.equal(labels, targets[:, top::stride, left::stride])


@pytest.mark.parametrize('weights', [None, [0.5, 1.0, 2.0, 4.0]])
def test_cross_entropy_is_the_weighted_mean_over_labels(weights: list[float] | None) -> None:
    logits, targets = batch()
    weight = None if weights is None else torch.tensor(weights)
    expected = functional.cross_entropy(logits, targets, weight=weight, ignore_index=255)
    assert cross_entropy(logits, targets, weight) == pytest.approx(float(expected), rel=1e-6)


PROCESS = """
import sys, torch
from lemore_core.training.losses import cross_entropy
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group(
    'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2
)
logits, targets = torch.load(f'{folder}/batch.pt')
share = logits[rank : rank + 1].requires_grad_()
cross_entropy(share, targets[rank : rank + 1]).backward()
torch.save(share.grad, f'{folder}/{rank}.pt')
torch.distributed.destroy_process_group()
"""


def test_two_processes_have_together_the_gradient_of_one(tmp_path: Path) -> None:
    logits, targets = batch()
    targets[0, :4] = 255  # one of them has fewer labels
    torch.save((logits, targets), tmp_path / 'batch.pt')
    commands = [[sys.executable, '-c', PROCESS, str(rank), str(tmp_path)] for rank in range(2)]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(120) for process in processes] == [0, 0]
    shares = [torch.load(tmp_path / f'{rank}.pt') for rank in range(2)]
    cross_entropy(logits.requires_grad_(), targets).backward()  # type: ignore[no-untyped-call]
    # processes average their gradients
    torch.testing.assert_close(torch.cat(shares) / 2, logits.grad)


def lovasz_by_definition(probabilities: Tensor, targets: Tensor) -> float:
    """Sum, over the errors from large to small, each times what it adds to 1 - IoU."""
    losses = []
    for index in targets.unique().tolist():
        truth = targets == index
        errors = (truth.double() - probabilities[:, index]).abs()
        predicted, loss, before = truth.clone(), 0.0, 0.0
        for i in errors.argsort(descending=True).tolist():
            predicted[i] = not truth[i]
            mistaken = 1 - float((truth & predicted).sum() / (truth | predicted).sum())
            loss += float(errors[i]) * (mistaken - before)
            before = mistaken
        losses.append(loss)
    return sum(losses) / len(losses)


@pytest.mark.parametrize('seed', range(4))
def test_lovasz_softmax_is_the_extension_by_definition(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(14, 3, generator=random, dtype=torch.float64).softmax(1)
    targets = torch.randint(3, (14,), generator=random)
    targets[:2] = 255
    expected = lovasz_by_definition(probabilities[2:], targets[2:])
    assert float(lovasz_softmax(probabilities, targets)) == pytest.approx(expected)


def test_a_batch_without_labels_teaches_nothing() -> None:
    logits, _ = batch()
    logits.requires_grad_()
    targets = torch.full((2, 48, 64), 255)
    loss = Objective(torch.tensor([0.5, 1.0, 2.0, 4.0]), 1.0, 2)(logits, targets, (1, 0))
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_objective_adds_its_parts_on_the_grid() -> None:
    logits, _ = batch()
    targets = torch.randint(4, (2, 48, 64))
    sampled, labels = sample_grid(logits, targets, 2, (1, 1))
    # Lovász takes every fourth row and column: every second of the grid
    pixels = sampled[:, :, ::2, ::2].softmax(1).permute(0, 2, 3, 1).reshape(-1, 4)
    expected = cross_entropy(sampled, labels) + 0.5 * lovasz_softmax(
        pixels, labels[:, ::2, ::2].flatten()
    )
    actual = Objective(lovasz=0.5, stride=2)(logits, targets, (1, 1))
    assert float(actual) == pytest.approx(float(expected))


def test_distillation_is_the_divergence_from_the_kept_classes_where_there_are_any() -> None:
    logits = torch.randn(1, 5, 1, 2, generator=torch.Generator().manual_seed(0))
    soft = torch.zeros((1, 2, 2, 1, 2), dtype=torch.uint8)
    soft[0, 0, :, 0, 0] = torch.tensor([3, 1])
    soft[0, 1, :, 0, 0] = torch.tensor([192, 48])  # the second place is of no class
    logits.requires_grad_()
    loss = distillation_loss(logits, soft, 2.0)
    softened = torch.tensor([192.0, 48.0]).sqrt()
    wanted = softened / softened.sum()
    given = (logits[0, :, 0, 0] / 2).softmax(0)[[3, 1]]
    expected = 4 * (wanted * (wanted / given).log()).sum().detach()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad[..., 1].any()
