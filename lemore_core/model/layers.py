"""Layers that every part of the network shares."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvBatchNorm(nn.Sequential):
    """Convolution without bias, then batch normalisation (``cbn`` in the specification).

    Maps ``(N, inputs, H, W)`` to ``(N, outputs, ceil(H / stride), ceil(W / stride))``.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
            ),
            nn.BatchNorm2d(outputs),
        )


class InvertedResidual(nn.Module):
    """MobileNetV2's inverted residual: expand, depthwise, project (Sandler et al., CVPR 2018).

    The input is added to the result where the shapes allow it.
    """

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, expansion: int, stride: int
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [ConvBatchNorm(inputs, hidden), nn.ReLU(inplace=True)]
        layers += [
            ConvBatchNorm(hidden, hidden, kernel, stride, groups=hidden),
            nn.ReLU(inplace=True),
            ConvBatchNorm(hidden, outputs),
        ]
        self.layers = nn.Sequential(*layers)
        self.has_skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.layers(x)
        return x + y if self.has_skip else y


class DropPath(nn.Module):
    """Stochastic depth: drops a residual branch for whole samples (Huang et al., ECCV 2016)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Drop or scale ``x`` (N, C, H, W) sample by sample; the identity in evaluation."""
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        mask = torch.empty((x.shape[0], 1, 1, 1), dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * mask / keep
