"""Upsampling, argmax and the winner's probability in one Triton kernel.

A cell of 8x8 pixels shares its four logit vectors in the cache: an image of 512x512 and 150 classes
moves some 2 MB, where plain PyTorch moves hundreds.
"""

# Triton reads no annotations
# ruff: noqa: ANN001, ANN201, ANN202, N803
# mypy: disable-error-code="no-untyped-def", disallow-untyped-decorators=False

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256


# one compilation for all sizes
@triton.jit(do_not_specialize=['height', 'width', 'rows', 'columns'])
def decode_kernel(
    logits,
    totals,
    labels,
    confidence,
    height,
    width,
    rows,
    columns,
    classes: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Decode a block of pixels of one image; ``totals`` are the vectors' log-sum-exp."""
    image = tl.program_id(1)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < height * width
    y = tl.maximum((pixel // width + 0.5) * (rows / height) - 0.5, 0.0)
    x = tl.maximum((pixel % width + 0.5) * (columns / width) - 0.5, 0.0)
    top, left = y.to(tl.int32), x.to(tl.int32)
    down, right = y - top, x - left
    bottom, end = tl.minimum(top + 1, rows - 1), tl.minimum(left + 1, columns - 1)
    # the four vectors and their weights
    first = image.to(tl.int64) * rows * columns
    a, b = first + top * columns + left, first + top * columns + end
    c, d = first + bottom * columns + left, first + bottom * columns + end
    in_a, in_b = (1 - down) * (1 - right), (1 - down) * right
    in_c, in_d = down * (1 - right), down * right
    best = tl.full((BLOCK,), float('-inf'), tl.float32)
    label = tl.zeros((BLOCK,), tl.int32)
    for k in range(classes):
        value = in_a * tl.load(logits + a * classes + k, mask=inside, other=0.0).to(tl.float32)
        value += in_b * tl.load(logits + b * classes + k, mask=inside, other=0.0).to(tl.float32)
        value += in_c * tl.load(logits + c * classes + k, mask=inside, other=0.0).to(tl.float32)
        value += in_d * tl.load(logits + d * classes + k, mask=inside, other=0.0).to(tl.float32)
        label = tl.where(value > best, k, label)
        best = tl.maximum(value, best)
    share = in_a * _probability(logits, totals, a, label, classes, inside)
    share += in_b * _probability(logits, totals, b, label, classes, inside)
    share += in_c * _probability(logits, totals, c, label, classes, inside)
    share += in_d * _probability(logits, totals, d, label, classes, inside)
    place = image.to(tl.int64) * height * width + pixel
    tl.store(labels + place, label, mask=inside)
    # NaN does not fit eight bits
    share = tl.where(share >= 0, share, 0.0)
    tl.store(confidence + place, (share * 255 + 0.5).to(tl.uint8), mask=inside)


@triton.jit
def _probability(logits, totals, vector, label, classes, inside):
    logit = tl.load(logits + vector * classes + label, mask=inside, other=0.0).to(tl.float32)
    return tl.exp(logit - tl.load(totals + vector, mask=inside, other=0.0))


def decode_fused(logits: Tensor, labels: Tensor, confidence: Tensor) -> None:
    """Decode on a GPU; see :func:`lemore_core.inference.gpu.decode.decode`."""
    count, rows, columns, classes = logits.shape
    height, width = labels.shape[1:]
    logits = logits.contiguous()
    totals = torch.logsumexp(logits.float(), -1)
    grid = (triton.cdiv(height * width, BLOCK), count)
    decode_kernel[grid](
        logits, totals, labels, confidence, height, width, rows, columns, classes, BLOCK=BLOCK
    )
