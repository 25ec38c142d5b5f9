"""Gated fusion of a stage's local features with its share of the global ones (Figure 1d)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lemore_core.model.layers import ConvBatchNorm


class GatedFusion(nn.Module):
    """``local * up(gate) + up(inject)``.

    Maps local features (N, C, H, W) and their global share (N, C, h, w) to (N, outputs, H, W).
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.local = ConvBatchNorm(channels, outputs)
        self.gate = ConvBatchNorm(channels, outputs)
        self.inject = ConvBatchNorm(channels, outputs)

    def forward(self, local: Tensor, share: Tensor) -> Tensor:
        """Fuse ``local`` (N, C, H, W) with ``share`` (N, C, h, w) to (N, outputs, H, W)."""
        size = local.shape[-2:]
        gate = upsample(torch.sigmoid(self.gate(share)), size)
        inject = upsample(self.inject(share), size)
        fused: Tensor = self.local(local) * gate + inject
        return fused


def upsample(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize ``x`` (N, C, h, w) bilinearly to ``size`` (H, W), ``align_corners=False``."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return functional.interpolate(x, size=size, mode='bilinear', align_corners=False)
