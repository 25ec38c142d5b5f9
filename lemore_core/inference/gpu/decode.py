"""Labels and confidence on the device that made the logits.

The definition is that of :mod:`lemore_core.inference.cpu.decode`, from which the labels differ
only where two classes are as close as float32 rounds.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# of float32: what is held of the logits at the camera's size, some of the classes at a time
HELD_NUMBERS = 2**25


def decode(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return labels and confidence at ``size`` (height, width), and which logits are finite.

    ``logits`` (N, h, w, classes) float32 or float16. Labels (N, height, width) are uint8, or
    uint16 beyond 255 classes; confidence is of that shape, uint8; the last is (N,) bool. Nothing
    waits for the host, so a call can be captured in a CUDA graph.
    """
    low = logits.float().permute(0, 3, 1, 2).contiguous()
    probabilities = low.softmax(1)
    classes = low.shape[1]
    step = max(1, HELD_NUMBERS // (len(low) * size[0] * size[1]))
    best, label, share = _winners(low[:, :step], probabilities[:, :step], size)
    for start in range(step, classes, step):
        part = slice(start, start + step)
        value, winner, its_share = _winners(low[:, part], probabilities[:, part], size)
        better = value > best
        best = torch.where(better, value, best)
        label = torch.where(better, winner + start, label)
        share = torch.where(better, its_share, share)
    # few operations know uint16: the bits are those of int16
    labels = label.to(torch.int16).view(torch.uint16) if classes > 255 else label.to(torch.uint8)
    return labels, (share * 255 + 0.5).to(torch.uint8), low.isfinite().flatten(1).all(1)


def _winners(
    logits: Tensor, probabilities: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each pixel's largest logit, its class and that class's probability."""
    value, winner = _upsampled(logits, size).max(1)
    share = _upsampled(probabilities, size).gather(1, winner[:, None])[:, 0]
    return value, winner, share


def _upsampled(planes: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(planes, size, mode='bilinear', align_corners=False)
