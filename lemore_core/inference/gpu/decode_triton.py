"""The Triton kernels behind :mod:`lemore_core.inference.gpu.decode`, which says what they compute.

The first finds each logit vector's largest number and the sum of its exponentials. In the second
every pixel goes through all classes and keeps the best, then interpolates that one's probability.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lemore_core.inference.gpu.corners import Corners
from lemore_core.inference.gpu.triton_jit import jit

VECTORS = 128
PIXELS = 128
# Classes that are read before the first is compared: the reads wait together.
TOGETHER = 8


def decode(logits: Tensor, rows: Corners, columns: Corners) -> tuple[Tensor, Tensor]:
    """Return labels (N, rows, columns), uint8 or int16, and confidence of ``logits``."""
    count, height, width, classes = logits.shape
    device = logits.device
    peak, scale = (torch.empty(count, height, width, device=device) for _ in range(2))
    size = len(rows.first), len(columns.first)
    kind = torch.int16 if classes > 255 else torch.uint8
    labels = torch.empty(count, *size, dtype=kind, device=device)
    confidence = torch.empty(count, *size, dtype=torch.uint8, device=device)
    vectors, pixels = height * width, size[0] * size[1]
    _summary_kernel[triton.cdiv(vectors, VECTORS), count](
        logits, *logits.stride(), peak, scale, vectors, width, classes, block=VECTORS
    )
    _decode_kernel[triton.cdiv(pixels, PIXELS), count](
        logits,
        *logits.stride(),
        peak,
        scale,
        rows.first,
        rows.second,
        rows.weight,
        columns.first,
        columns.second,
        columns.weight,
        labels,
        confidence,
        pixels,
        size[1],
        vectors,
        width,
        classes,
        block=PIXELS,
        together=TOGETHER,
    )
    return labels, confidence


@jit
def _summary_kernel(
    logits: tl.tensor,
    image_stride: tl.tensor,
    row_stride: tl.tensor,
    column_stride: tl.tensor,
    class_stride: tl.tensor,
    peak: tl.tensor,
    scale: tl.tensor,
    vectors: tl.tensor,
    width: tl.tensor,
    classes: tl.tensor,
    block: tl.constexpr,
) -> None:
    """Find the peak of ``block`` logit vectors, and one over the sum of e ** (logit - peak).

    That is zero where there is a NaN or +infinity, or nothing but -infinity.
    """
    image = tl.program_id(1).to(tl.int64)
    vector = tl.program_id(0) * block + tl.arange(0, block)
    inside = vector < vectors
    start = logits + image * image_stride
    start += (vector // width) * row_stride + (vector % width) * column_stride
    largest = tl.full([block], float('-inf'), tl.float32)
    for k in range(classes):
        value = tl.load(start + k * class_stride, mask=inside, other=0.0).to(tl.float32)
        # false for NaN
        largest = tl.where(value > largest, value, largest)
    total = tl.zeros([block], tl.float32)
    for k in range(classes):
        value = tl.load(start + k * class_stride, mask=inside, other=0.0).to(tl.float32)
        total += tl.exp(value - largest)
    usable = total > 0
    target = image * vectors + vector
    tl.store(peak + target, largest, mask=inside)
    tl.store(scale + target, tl.where(usable, 1.0 / tl.where(usable, total, 1.0), 0.0), mask=inside)


@jit
def _mix(
    a: tl.tensor, b: tl.tensor, c: tl.tensor, d: tl.tensor, down: tl.tensor, right: tl.tensor
) -> tl.tensor:
    """Interpolate between upper left, upper right, lower left and lower right."""
    return a + right * (b - a) + down * ((c - a) + right * ((d - c) - (b - a)))


@jit
def _logit(corner: tl.tensor, offset: tl.tensor, inside: tl.tensor) -> tl.tensor:
    return tl.load(corner + offset, mask=inside, other=0.0).to(tl.float32)


@jit
def _probability(
    corner: tl.tensor,
    offset: tl.tensor,
    peak: tl.tensor,
    scale: tl.tensor,
    vector: tl.tensor,
    inside: tl.tensor,
) -> tl.tensor:
    share = tl.load(scale + vector, mask=inside, other=0.0)
    above = _logit(corner, offset, inside) - tl.load(peak + vector, mask=inside, other=0.0)
    # an unusable vector's exponential may be NaN
    return tl.where(share > 0, tl.exp(tl.where(share > 0, above, 0.0)) * share, 0.0)


@jit
def _decode_kernel(
    logits: tl.tensor,
    image_stride: tl.tensor,
    row_stride: tl.tensor,
    column_stride: tl.tensor,
    class_stride: tl.tensor,
    peak: tl.tensor,
    scale: tl.tensor,
    row_first: tl.tensor,
    row_second: tl.tensor,
    row_weight: tl.tensor,
    column_first: tl.tensor,
    column_second: tl.tensor,
    column_weight: tl.tensor,
    labels: tl.tensor,
    confidence: tl.tensor,
    pixels: tl.tensor,
    columns: tl.tensor,
    vectors: tl.tensor,
    width: tl.tensor,
    classes: tl.tensor,
    block: tl.constexpr,
    together: tl.constexpr,
) -> None:
    """Decode ``block`` pixels of an image."""
    # 64 bits: a batch of logits may hold more numbers than 32 bits count
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * block + tl.arange(0, block)
    inside = pixel < pixels
    y = pixel // columns
    x = pixel % columns
    top = tl.load(row_first + y, mask=inside, other=0)
    bottom = tl.load(row_second + y, mask=inside, other=0)
    down = tl.load(row_weight + y, mask=inside, other=0.0)
    left = tl.load(column_first + x, mask=inside, other=0)
    right = tl.load(column_second + x, mask=inside, other=0)
    across = tl.load(column_weight + x, mask=inside, other=0.0)
    start = logits + image * image_stride
    a = start + top * row_stride + left * column_stride
    b = start + top * row_stride + right * column_stride
    c = start + bottom * row_stride + left * column_stride
    d = start + bottom * row_stride + right * column_stride

    best = tl.full([block], float('-inf'), tl.float32)
    winner = tl.zeros([block], tl.int32)
    for first in range(0, classes, together):
        for i in tl.static_range(together):
            # past the last class the last one comes again, which changes nothing
            k = tl.minimum(first + i, classes - 1)
            offset = k * class_stride
            value = _mix(
                _logit(a, offset, inside),
                _logit(b, offset, inside),
                _logit(c, offset, inside),
                _logit(d, offset, inside),
                down,
                across,
            )
            # false for NaN; and a tie stays with the class that came first
            better = value > best
            best = tl.where(better, value, best)
            winner = tl.where(better, k, winner)

    offset = winner * class_stride
    above = image * vectors + top * width
    below = image * vectors + bottom * width
    share = _mix(
        _probability(a, offset, peak, scale, above + left, inside),
        _probability(b, offset, peak, scale, above + right, inside),
        _probability(c, offset, peak, scale, below + left, inside),
        _probability(d, offset, peak, scale, below + right, inside),
        down,
        across,
    )
    target = image * pixels + pixel
    byte = tl.floor(share * 255.0 + 0.5).to(tl.int32).to(tl.uint8)
    tl.store(confidence + target, byte, mask=inside)
    tl.store(labels + target, winner.to(labels.dtype.element_ty), mask=inside)
