"""Losses of a training step: cross-entropy, Lovász-softmax, distillation.

Logits are (N, classes, h, w) at 1/8 of the input, targets (N, H, W) class ids, 255 for unlabelled.
A loss is taken at the labels' own resolution, on a random grid of pixels: upsampling and counting
every pixel costs as much as half the network and adds little.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, distributed
from torch.nn import functional

from lemore_core.taxonomy import UNLABELLED_8BIT

LOVASZ_STRIDE = 4  # sorting is costly, and the measure needs fewer pixels than the gradient


@dataclass(frozen=True)
class Objective:
    """The loss of a step: cross-entropy, and Lovász-softmax where it has a weight.

    ``class_weights`` is (classes,) or None; ``stride`` is the grid's.
    """

    class_weights: Tensor | None = None
    lovasz: float = 0.0
    stride: int = 1

    def __call__(self, logits: Tensor, targets: Tensor, offset: tuple[int, int]) -> Tensor:
        """Return the loss of logits (N, C, h, w) against ids (N, H, W) int64, a scalar."""
        logits, targets = sample_grid(logits, targets, self.stride, offset)
        loss = cross_entropy(logits, targets, self.class_weights)
        if self.lovasz:
            step = max(1, LOVASZ_STRIDE // self.stride)
            thinned = logits[:, :, ::step, ::step].softmax(1)
            pixels = thinned.permute(0, 2, 3, 1).flatten(0, 2)
            loss = loss + self.lovasz * lovasz_softmax(pixels, targets[:, ::step, ::step].flatten())
        return loss


def cross_entropy(logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return the weighted mean over the labelled pixels, a scalar.

    With several processes each divides by the mean weight of all: the average of their gradients is
    then that of a single process, wherever the labelled pixels lie.
    """
    known = targets != UNLABELLED_8BIT
    weights = known.to(logits.dtype)
    if class_weights is not None:
        class_weights = class_weights.to(logits)
        weights = weights * class_weights[targets.where(known, 0)]
    losses = functional.cross_entropy(
        logits, targets, weight=class_weights, ignore_index=UNLABELLED_8BIT, reduction='none'
    )
    return losses.sum() / _mean_over_processes(weights.sum()).clamp_min(1e-6)


def _mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a value that has no gradient over the processes of a run."""
    if distributed.is_available() and distributed.is_initialized():
        value = value.clone()
        distributed.all_reduce(value)
        return value / distributed.get_world_size()
    return value


def sample_grid(
    logits: Tensor, targets: Tensor, stride: int, offset: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return logits and targets on the pixels ``offset + stride * (i, j)`` of the label images.

    The logits (N, C, h, w) are upsampled bilinearly (``align_corners=False``) to the size of the
    targets (N, H, W), but computed on that grid only, as two matrix products: (N, C, H', W').
    """
    height, width = targets.shape[-2:]
    top, left = offset
    rows = _upsampling(logits.shape[-2], height, logits)[top::stride]
    columns = _upsampling(logits.shape[-1], width, logits)[left::stride]
    sampled = rows @ (logits.contiguous() @ columns.transpose(0, 1))
    return sampled, targets[:, top::stride, left::stride]


def _upsampling(source: int, target: int, like: Tensor) -> Tensor:
    """Return the (target, source) matrix of a bilinear resize along one axis."""
    identity = torch.eye(source, device=like.device, dtype=like.dtype)[None]
    resized = functional.interpolate(identity, size=target, mode='linear', align_corners=False)
    return resized[0].transpose(0, 1)


def lovasz_softmax(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return the Lovász extension of 1 - mIoU over the classes present (Berman et al., CVPR 2018).

    ``probabilities`` is (P, classes), ``targets`` (P,) int64; pixels labelled 255 are left out.
    """
    known = targets != UNLABELLED_8BIT
    probabilities, targets = probabilities[known], targets[known]
    losses = []
    for index in torch.unique(targets).tolist():
        truth = (targets == index).to(probabilities.dtype)
        errors = (truth - probabilities[:, index]).abs()
        errors, order = errors.sort(descending=True)
        losses.append(torch.dot(errors, _jaccard_gradient(truth[order])))
    # no label in the batch: no error, but still a function of the logits
    return torch.stack(losses).mean() if losses else probabilities.sum()


def _jaccard_gradient(truth: Tensor) -> Tensor:
    """Return the increase of 1 - IoU by each further error, for truths sorted by error."""
    total = truth.sum()
    intersection = total - truth.cumsum(0)
    union = total + (1 - truth).cumsum(0)
    loss = 1 - intersection / union
    loss[1:] -= loss[:-1].clone()
    return loss


def distillation_loss(logits: Tensor, soft: Tensor, temperature: float) -> Tensor:
    """Return the divergence from soft labels, a mean over the labelled places, times T squared.

    ``logits`` is (N, C, h, w), ``soft`` (N, 2, n, h', w') uint8, see :func:`lemore_core.data.samples.soft_labels`
    (Hinton et al., 2015). What a teacher gives to other than the n classes is left out.
    """
    classes, values = soft[:, 0].long(), soft[:, 1].to(logits.dtype)
    known = (values.sum(1) > 0).to(logits.dtype)
    targets = values.clamp_min(1e-6) ** (1 / temperature)
    targets = targets / targets.sum(1, keepdim=True)
    logits = functional.interpolate(logits, soft.shape[-2:], mode='bilinear') / temperature
    chances = logits.log_softmax(1).gather(1, classes)
    divergence = (targets * (targets.log() - chances)).sum(1) * known
    return divergence.sum() / _mean_over_processes(known.sum()).clamp_min(1) * temperature**2
