"""Resize camera images to the network's input on its device."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

# the channels of red, green and blue
RGB, BGR, GREY = (0, 1, 2), (2, 1, 0), (0, 0, 0)
ORDERS = {'rgb8': RGB, 'bgr8': BGR, 'rgba8': RGB, 'bgra8': BGR, 'mono8': GREY}
Device = torch.device | str


class DeviceResize:
    """Resize images of one size and encoding, and convert them to RGB.

    Maps (N, H, W, channels) uint8 of size ``source`` to RGB (N, h, w, 3) uint8 of size ``target``,
    each (height, width). Can be captured in a CUDA graph.

    As :func:`lemore_core.images.image.to_network`, it averages over areas if both sides shrink, else
    interpolates, within one grey level. The areas of PyTorch's ``interpolate`` overlap: with them
    0.4% to 1.4% of a street's labels change (here 0.02%).
    """

    def __init__(
        self, source: tuple[int, int], encoding: str, target: tuple[int, int], device: Device
    ) -> None:
        shrinks = source[0] > target[0] and source[1] > target[1]
        self._resizes = source != target
        self._rows = _taps(source[0], target[0], averages=shrinks, device=device)
        self._columns = _taps(source[1], target[1], averages=shrinks, device=device)
        self._order = torch.tensor(ORDERS[encoding], device=device)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the resized images; shapes as above."""
        pixels = pixels[..., :3]
        if self._resizes:
            pixels = _sum(_sum(pixels, 2, *self._columns), 1, *self._rows)
            pixels = pixels.round_().to(torch.uint8)
        return pixels.index_select(3, self._order)


def _taps(source: int, target: int, *, averages: bool, device: Device) -> tuple[Tensor, Tensor]:
    """Return the source pixels of each target pixel of an axis, and their weights."""
    scale = source / target
    start = np.arange(target)[:, None] * scale
    if averages:
        # the share of the area covered by a pixel
        index = np.floor(start) + np.arange(math.ceil(scale) + 1)
        weight = np.minimum(start + scale, index + 1) - np.maximum(start, index)
        weight = weight.clip(0) / scale
    else:
        place = (start + scale / 2 - 0.5).clip(0, source - 1)
        index = np.floor(place) + np.arange(2)
        weight = 1 - np.abs(place - index)
    taps = torch.from_numpy(index.clip(max=source - 1).astype(np.int32))
    return taps.to(device), torch.from_numpy(weight.astype(np.float32)).to(device)


def _sum(pixels: Tensor, dim: int, index: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted sums along dimension 1 or 2 of (N, H, W, C), float32."""
    shape = pixels.shape
    taken = pixels.index_select(dim, index.flatten())
    taken = taken.view(*shape[:dim], *index.shape, *shape[dim + 1 :])
    return (taken * weight.view(*weight.shape, *[1] * (3 - dim))).sum(dim + 1)
