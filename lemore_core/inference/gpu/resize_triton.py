"""The Triton kernel behind :mod:`lemore_core.inference.gpu.resize`: one pass over the output."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lemore_core.inference.gpu.device_taps import DeviceTaps
from lemore_core.inference.gpu.resize_weights import Method
from lemore_core.inference.gpu.triton_jit import jit

BLOCK = 128


def resize(taps: DeviceTaps, pixels: Tensor) -> Tensor:
    """Return ``pixels`` (N, H, W, channels) uint8 as RGB (N, rows, columns, 3) uint8."""
    count, height, width, channels = pixels.shape
    rows, columns = taps.rows.index.shape[1], taps.columns.index.shape[1]
    result = torch.empty(count, rows, columns, 3, dtype=torch.uint8, device=pixels.device)
    blocks = triton.cdiv(rows * columns, BLOCK)
    _resize_kernel[blocks, count](
        pixels,
        result,
        taps.rows.index,
        taps.rows.weight,
        taps.columns.index,
        taps.columns.weight,
        height * width * channels,
        width * channels,
        rows,
        columns,
        taps.factor,
        channels=channels,
        row_taps=taps.rows.index.shape[0],
        column_taps=taps.columns.index.shape[0],
        bilinear=taps.method is Method.BILINEAR,
        half_up=taps.half_up,
        red=taps.order[0],
        green=taps.order[1],
        blue=taps.order[2],
        block=BLOCK,
    )
    return result


@jit
def _average(
    image: tl.tensor,
    row_index: tl.tensor,
    row_weight: tl.tensor,
    column_index: tl.tensor,
    column_weight: tl.tensor,
    y: tl.tensor,
    x: tl.tensor,
    inside: tl.tensor,
    row_stride: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    factor: tl.tensor,
    channels: tl.constexpr,
    row_taps: tl.constexpr,
    column_taps: tl.constexpr,
    half_up: tl.constexpr,
) -> tl.tensor:
    total = tl.zeros(x.shape, tl.float32)
    for i in range(row_taps):
        line = image + tl.load(row_index + i * rows + y, mask=inside, other=0) * row_stride
        across = tl.zeros(x.shape, tl.float32)
        for j in range(column_taps):
            column = tl.load(column_index + j * columns + x, mask=inside, other=0)
            weight = tl.load(column_weight + j * columns + x, mask=inside, other=0.0)
            value = tl.load(line + column * channels, mask=inside, other=0)
            across += weight * value.to(tl.float32)
        total += tl.load(row_weight + i * rows + y, mask=inside, other=0.0) * across
    total = total * factor
    rounded = tl.floor(total + 0.5)
    if not half_up:
        # to the even number: there is no instruction for it that every Triton has
        odd = (rounded.to(tl.int32) & 1) == 1
        rounded = tl.where((rounded - total == 0.5) & odd, rounded - 1, rounded)
    return rounded.to(tl.int32)


@jit
def _across(
    line: tl.tensor,
    left: tl.tensor,
    right: tl.tensor,
    left_weight: tl.tensor,
    right_weight: tl.tensor,
    inside: tl.tensor,
) -> tl.tensor:
    a = tl.load(line + left, mask=inside, other=0).to(tl.int32)
    b = tl.load(line + right, mask=inside, other=0).to(tl.int32)
    return (a * left_weight + b * right_weight) >> 4


@jit
def _interpolate(
    image: tl.tensor,
    row_index: tl.tensor,
    row_weight: tl.tensor,
    column_index: tl.tensor,
    column_weight: tl.tensor,
    y: tl.tensor,
    x: tl.tensor,
    inside: tl.tensor,
    row_stride: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    channels: tl.constexpr,
) -> tl.tensor:
    left = tl.load(column_index + x, mask=inside, other=0) * channels
    right = tl.load(column_index + columns + x, mask=inside, other=0) * channels
    left_weight = tl.load(column_weight + x, mask=inside, other=0)
    right_weight = tl.load(column_weight + columns + x, mask=inside, other=0)
    line = image + tl.load(row_index + y, mask=inside, other=0) * row_stride
    upper = _across(line, left, right, left_weight, right_weight, inside)
    line = image + tl.load(row_index + rows + y, mask=inside, other=0) * row_stride
    lower = _across(line, left, right, left_weight, right_weight, inside)
    upper = (upper * tl.load(row_weight + y, mask=inside, other=0)) >> 16
    lower = (lower * tl.load(row_weight + rows + y, mask=inside, other=0)) >> 16
    return (upper + lower + 2) >> 2


@jit
def _resize_kernel(
    pixels: tl.tensor,
    result: tl.tensor,
    row_index: tl.tensor,
    row_weight: tl.tensor,
    column_index: tl.tensor,
    column_weight: tl.tensor,
    image_stride: tl.tensor,
    row_stride: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    factor: tl.tensor,
    channels: tl.constexpr,
    row_taps: tl.constexpr,
    column_taps: tl.constexpr,
    bilinear: tl.constexpr,
    half_up: tl.constexpr,
    red: tl.constexpr,
    green: tl.constexpr,
    blue: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Make ``block`` pixels of an image, a channel after the other."""
    # 64 bits: a batch of large images has more bytes than 32 bits count
    count = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < rows * columns
    y = place // columns
    x = place % columns
    target = result + count * rows * columns * 3 + place * 3
    for channel in tl.static_range(3):
        if channel == 0:
            image = pixels + count * image_stride + red
        elif channel == 1:
            image = pixels + count * image_stride + green
        else:
            image = pixels + count * image_stride + blue
        if bilinear:
            value = _interpolate(
                image,
                row_index,
                row_weight,
                column_index,
                column_weight,
                y,
                x,
                inside,
                row_stride,
                rows,
                columns,
                channels,
            )
        else:
            value = _average(
                image,
                row_index,
                row_weight,
                column_index,
                column_weight,
                y,
                x,
                inside,
                row_stride,
                rows,
                columns,
                factor,
                channels,
                row_taps,
                column_taps,
                half_up,
            )
        tl.store(target + channel, value.to(tl.uint8), mask=inside)
