"""The Cartesian encoder: three explicit views of a feature map (LeMoRe, Figure 1b)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lemore_core.model.layers import ConvBatchNorm

Axis = Literal['width', 'height']


class AxisMixing(nn.Module):
    """A 1x1 convolution whose channels are the columns (or rows) of the feature map.

    ``width``: ``Y[c, y, :] = W X[c, y, :]``; ``height``: ``Y[c, :, x] = W X[c, :, x]``. The weight
    is ``size x size`` for the resolution that the layer was built for; features of another one
    meet it resampled (:func:`resample_axis_weight`), so that training can change the resolution
    from step to step.
    """

    def __init__(self, axis: Axis, size: int) -> None:
        super().__init__()
        self.axis: Axis = axis
        self.weight = nn.Parameter(torch.empty(size, size))
        # as in LeMoRe, a tensor without numbers is left alone
        if not self.weight.is_meta:
            # Near zero: the views start as small corrections of the transverse one.
            nn.init.normal_(self.weight, std=0.02 / size**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Mix ``x`` (N, C, H, W) along the axis; the shape stays."""
        if self.axis == 'width':
            weight = resample_axis_weight(self.weight, x.shape[-1])
            return torch.matmul(x, weight.transpose(0, 1))
        return torch.matmul(resample_axis_weight(self.weight, x.shape[-2]), x)


def resample_axis_weight(weight: Tensor, size: int) -> Tensor:
    """Resample an axis weight (n, n) to (size, size) for features of another resolution.

    Bilinear in both indices (``align_corners=False``), scaled by ``n / size`` so that a row keeps
    its sum: each output still weighs the whole axis as much as it did.
    """
    n = weight.shape[0]
    if n == size:
        return weight
    resampled = functional.interpolate(
        weight[None, None], size=(size, size), mode='bilinear', align_corners=False
    )
    return resampled[0, 0] * (n / size)


class ChannelAttention(nn.Module):
    """Squeeze-and-excitation without reduction (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, channels, 1)
        self.relu = nn.ReLU(inplace=True)
        self.excite = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of ``x`` (N, C, H, W); the shape stays."""
        scale = self.excite(self.relu(self.squeeze(self.pool(x))))
        return x * torch.sigmoid(scale)


class SeparableDepthwise(nn.Sequential):
    """Depthwise 3x1 and 1x3, then the same dilated by two, each pair with BN and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            *self._pair(channels, dilation=1),
            *self._pair(channels, dilation=2),
        )

    @staticmethod
    def _pair(channels: int, dilation: int) -> tuple[nn.Module, ...]:
        def depthwise(kernel: tuple[int, int], padding: tuple[int, int]) -> nn.Conv2d:
            return nn.Conv2d(
                channels,
                channels,
                kernel,
                padding=padding,
                dilation=dilation,
                groups=channels,
                bias=False,
            )

        return (
            depthwise((3, 1), (dilation, 0)),
            depthwise((1, 3), (0, dilation)),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


class CartesianEncoder(nn.Module):
    """Sum of the explicit views, separable depthwise mixing, channel attention, residual.

    Maps ``(N, channels, height, width)`` to the same shape. ``None`` stands for a view (or the
    channel attention) that is switched off.
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        *,
        transverse: bool = True,
        frontal: bool = True,
        lateral: bool = True,
        channel_attention: bool = True,
    ) -> None:
        super().__init__()
        self.transverse = ConvBatchNorm(channels, channels) if transverse else None
        self.frontal = AxisMixing('width', width) if frontal else None
        self.lateral = AxisMixing('height', height) if lateral else None
        self.mixing = SeparableDepthwise(channels)
        self.attention = ChannelAttention(channels) if channel_attention else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (N, channels, height, width) to the same shape."""
        views = [
            view(x) for view in (self.transverse, self.frontal, self.lateral) if view is not None
        ]
        y: Tensor = self.mixing(sum(views[1:], start=views[0]))
        if self.attention is not None:
            y = self.attention(y)
        return x + y
