"""Decode logits to labels and confidence on their device.

Defined as in :mod:`lemore_core.inference.cpu.decode`; labels differ only within float32 rounding.
Two ways: one Triton kernel, which reads the small logits and writes the labels, and plain PyTorch
where Triton does not run (Jetson's wheels, CPUs), which holds every class at the camera's size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from lemore_core.inference.gpu.errors import first_line, is_out_of_memory

HELD_NUMBERS = 2**25  # float32 logits at the camera's size, some of the classes at a time

Decoder = Callable[[Tensor, Tensor, Tensor], None]

_log = logging.getLogger(__name__)


def decode(logits: Tensor, labels: Tensor, confidence: Tensor, finite: Tensor) -> None:
    """Write labels and confidence of logits (N, h, w, classes) float32 or float16.

    ``labels`` (N, height, width) is uint8, or int16 with the bits of uint16 beyond 255 classes;
    ``confidence`` (N, height, width) uint8; ``finite`` (N,) bool. Can be captured in a CUDA graph.
    """
    # any NaN or infinity makes the sum one
    finite.copy_(logits.sum((1, 2, 3), dtype=torch.float32).isfinite())
    decoder = _decoder(logits.device, logits.dtype, labels.dtype, logits.shape[-1])
    decoder(logits, labels, confidence)


def decode_plainly(logits: Tensor, labels: Tensor, confidence: Tensor) -> None:
    """Decode in PyTorch's own operations, image by image; see :func:`decode`."""
    rows = _corners(logits.shape[1], labels.shape[1], logits.device)
    columns = _corners(logits.shape[2], labels.shape[2], logits.device)
    for image, found, share in zip(logits, labels, confidence, strict=True):
        winner = _winner(image, found.shape)
        probabilities = image.float().softmax(-1).flatten()
        total: Tensor | float = 0.0
        for row, row_weight in rows:
            for column, column_weight in columns:
                cell = row[:, None] * image.shape[1] + column
                corner = probabilities.take(cell * image.shape[2] + winner)
                total = total + corner * (row_weight[:, None] * column_weight)
        found.copy_(winner)
        share.copy_(torch.as_tensor(total) * 255 + 0.5)


def _winner(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the class of the largest upsampled logit (height, width), the lowest of equals."""
    planes = image.float().permute(2, 0, 1)[None].contiguous()
    step = max(1, HELD_NUMBERS // (size[0] * size[1]))
    best: Tensor | None = None
    for start in range(0, planes.shape[1], step):
        value, label = functional.interpolate(
            planes[:, start : start + step], size, mode='bilinear', align_corners=False
        )[0].max(0)
        if best is None:
            best, winner = value, label
        else:
            winner = torch.where(value > best, label + start, winner)
            best = torch.maximum(value, best)
    return winner


@cache
def _corners(small: int, large: int, device: torch.device) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return the two neighbours of each of ``large`` pixels among ``small``, and their weights."""
    place = ((torch.arange(large, dtype=torch.float64) + 0.5) * (small / large) - 0.5).clamp(min=0)
    first = place.long()
    weight = (place - first).float().to(device)
    second = (first + 1).clamp(max=small - 1).to(device)
    return (first.to(device), 1 - weight), (second, weight)


@cache
def _decoder(
    device: torch.device, kind: torch.dtype, label_kind: torch.dtype, classes: int
) -> Decoder:
    """Return the kernel if it runs and agrees with plain PyTorch, else plain PyTorch."""
    if device.type != 'cuda':
        return decode_plainly
    try:
        from lemore_core.inference.gpu.decode_kernel import decode_fused

        logits = torch.randn(2, 5, 7, classes, dtype=kind, device=device)
        found, expected = torch.zeros(2, 2, 40, 56, dtype=label_kind, device=device)
        confidence = torch.zeros(2, 40, 56, dtype=torch.uint8, device=device)
        decode_fused(logits, found, confidence)
        decode_plainly(logits, expected, confidence)
        if (found == expected).float().mean().item() > 0.99:
            return decode_fused
        reason = 'its labels are not those of PyTorch'
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # no Triton, no compiler, or an unknown GPU
        reason = f'{type(error).__name__}: {first_line(error)}'
    _log.info('decoding in plain PyTorch, the Triton kernel does not run: %s', reason)
    return decode_plainly
