"""The nested attention: nine implicit views of the tokens (LeMoRe, Figure 1c)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lemore_core.model.layers import ConvBatchNorm, DropPath

VIEWS = 3  # queries, keys and values each


class NestedAttention(nn.Module):
    """Mean of the nine attention maps of three queries with three keys, over the summed values.

    Every map has its own softmax: without it the nine products would collapse into the one
    product of the summed queries with the summed keys.
    """

    def __init__(self, channels: int, *, heads: int, key_dim: int, value_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.key_dim = key_dim
        self.value_dim = value_dim
        self.queries = self._projections(channels, heads * key_dim)
        self.keys = self._projections(channels, heads * key_dim)
        self.values = self._projections(channels, heads * value_dim)
        self.activation = nn.ReLU6()
        self.output = ConvBatchNorm(heads * value_dim, channels)

    @staticmethod
    def _projections(channels: int, outputs: int) -> nn.ModuleList:
        return nn.ModuleList(ConvBatchNorm(channels, outputs) for _ in range(VIEWS))

    def attention_maps(self, x: Tensor) -> Tensor:
        """Return the nine maps of ``x`` (N, D, h, w) as (N, 3 queries, 3 keys, heads, hw, hw)."""
        n = x.shape[0]
        scale = self.key_dim**-0.5
        q = torch.stack([p(x).reshape(n, self.heads, self.key_dim, -1) for p in self.queries], 1)
        k = torch.stack([p(x).reshape(n, self.heads, self.key_dim, -1) for p in self.keys], 1)
        products = torch.matmul(q.transpose(-1, -2).unsqueeze(2) * scale, k.unsqueeze(1))
        return torch.softmax(products, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over the tokens ``x`` (N, D, h, w); the shape stays."""
        n, _, height, width = x.shape
        psi = self.attention_maps(x).mean(dim=(1, 2))  # (N, heads, hw, hw)
        # sum_t psi V_t = psi (sum_t V_t)
        value = torch.stack([p(x) for p in self.values]).sum(0)
        value = value.reshape(n, self.heads, self.value_dim, -1)  # (N, heads, value_dim, hw)
        attended = torch.matmul(value, psi.transpose(-1, -2))
        attended = attended.reshape(n, self.heads * self.value_dim, height, width)
        y: Tensor = self.output(self.activation(attended))
        return y


class FeedForward(nn.Sequential):
    """Token MLP with a depthwise 3x3 in the middle: (N, D, h, w) to the same shape."""

    def __init__(self, channels: int, ratio: int) -> None:
        hidden = channels * ratio
        super().__init__(
            ConvBatchNorm(channels, hidden),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.ReLU6(),
            ConvBatchNorm(hidden, channels),
        )


class BottleneckBlock(nn.Module):
    """``x + NA(x)``, then ``x + FFN(x)``; the attention can be switched off (Table 2)."""

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        key_dim: int,
        value_dim: int,
        ffn_ratio: int,
        nested_attention: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.attention = (
            NestedAttention(channels, heads=heads, key_dim=key_dim, value_dim=value_dim)
            if nested_attention
            else None
        )
        self.feed_forward = FeedForward(channels, ffn_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map the tokens ``x`` (N, D, h, w) to the same shape."""
        if self.attention is not None:
            x = x + self.drop_path(self.attention(x))
        y: Tensor = x + self.drop_path(self.feed_forward(x))
        return y
