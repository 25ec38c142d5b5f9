"""Camera pixels to the network's, on the device that runs the network.

The result is that of :func:`lemore_core.image.to_network`: the taps and the rounding are
OpenCV's. A network that was measured with one sees the same pixels through the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lemore_core.image import CHANNELS
from lemore_core.inference.gpu.device_taps import DeviceAxis, DeviceTaps
from lemore_core.inference.gpu.resize_weights import WEIGHT_BITS, Method


class DeviceResize:
    """Resizes images of one size and encoding, and converts them to RGB.

    ``source`` and ``target`` are (height, width). Called with (N, H, W, channels) uint8 on the
    device, contiguous, (N, H, W, 1) for mono8, it returns RGB (N, h, w, 3) uint8. Nothing waits
    for the host, so a call can be captured in a CUDA graph.
    """

    def __init__(
        self,
        source: tuple[int, int],
        encoding: str,
        target: tuple[int, int],
        device: torch.device | str,
    ) -> None:
        device = torch.device(device)
        self.image = (*source, CHANNELS[encoding])
        self.resizes = source != target
        self.taps = DeviceTaps.between(source, encoding, target, device)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the images as the network takes them; shapes as above."""
        pixels = pixels[..., :3]
        if self.resizes:
            bilinear = self.taps.method is Method.BILINEAR
            pixels = self._interpolate(pixels) if bilinear else self._average(pixels)
        return self._to_rgb(pixels).contiguous()

    def _average(self, pixels: Tensor) -> Tensor:
        # columns first, as OpenCV does it: half a grey level is often a matter of rounding
        across = _weighted_sum(pixels, self.taps.columns, 2)
        total = _weighted_sum(across, self.taps.rows, 1).mul_(self.taps.factor)
        rounded = total.add_(0.5).floor_() if self.taps.half_up else total.round_()
        return rounded.to(torch.uint8)

    def _interpolate(self, pixels: Tensor) -> Tensor:
        """Do what OpenCV does with integers: columns first, and which bits it drops."""
        across = _weighted_sum(pixels, self.taps.columns, 2) >> 4
        upper, lower = (
            (across.index_select(1, index) * weight.view(-1, 1, 1)) >> 16
            for index, weight in zip(self.taps.rows.index, self.taps.rows.weight, strict=True)
        )
        # of the bits in the product of both weights, 4 + 16 are gone already
        last = 2 * WEIGHT_BITS - 20
        total: Tensor = upper + lower + (1 << last - 1)
        return (total >> last).to(torch.uint8)

    def _to_rgb(self, pixels: Tensor) -> Tensor:
        if pixels.shape[-1] == 1:
            return pixels.expand(*pixels.shape[:3], 3)
        return pixels if self.taps.order[0] == 0 else pixels.flip(-1)


def _weighted_sum(values: Tensor, axis: DeviceAxis, dim: int) -> Tensor:
    """Sum the taps of (N, H, W, C) along dimension 1 or 2, in the type of the weights."""
    shape = [1] * values.dim()
    shape[dim] = -1
    first, *others = (
        (index, weight.view(shape)) for index, weight in zip(axis.index, axis.weight, strict=True)
    )
    total: Tensor = values.index_select(dim, first[0]) * first[1]
    for index, weight in others:
        total += values.index_select(dim, index) * weight
    return total
