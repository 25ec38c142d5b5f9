"""Fold the network for serving: the same function in fewer and cheaper steps.

Every step is an identity of linear maps, so the logits are the same up to rounding:

- a BatchNorm goes into the convolution before it, the division by the standard deviation into the
  stem. The mean stays a subtraction: padding zeros stand for the mean, so no single bias is right
  both inside the image and at its border;
- a depthwise 3x1 and the 1x3 after it become one depthwise 3x3;
- one convolution gives queries, keys and summed values, in an order in which stacking their tokens
  is a reshape: one product and one softmax make the nine maps;
- an injected feature is only resized, pooled, added and convolved by the head, all of it linear.
  It is convolved at 1/64, and two products with constant matrices take all four to 1/8. Gates must
  be resized: they are multiplied.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lemore_core.model.cartesian_encoder import SeparableDepthwise
from lemore_core.model.gated_fusion import GatedFusion, upsample
from lemore_core.model.layers import ConvBatchNorm
from lemore_core.model.lemore import TOKEN_STRIDE, LeMoRe, token_size
from lemore_core.model.nested_attention import VIEWS, NestedAttention
from lemore_core.model.variants import LeMoReConfig


class FoldedLeMoRe(nn.Module):
    """Result of :func:`fold`, for the input size of ``config``."""

    def __init__(self, config: LeMoReConfig, encoder: LeMoRe, head: FoldedHead) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB less its mean (N, 3, H, W) to logits (N, classes, ceil(H / 8), ceil(W / 8))."""
        features, tokens = self.encoder.encode(x)
        logits: Tensor = self.head(features, tokens)
        return logits


class FoldedAttention(nn.Module):
    """:class:`NestedAttention` with one projection, one product for all maps and one softmax."""

    def __init__(self, attention: NestedAttention) -> None:
        super().__init__()
        self.heads = attention.heads
        self.projection = _projection(attention)
        self.dims = [attention.key_dim, attention.key_dim, attention.value_dim]
        self.activation = attention.activation
        self.output = _fuse(attention.output)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over the tokens ``x`` (N, D, h, w); the shape stays."""
        heads, dims = self.heads, self.dims
        height, width = (int(size) for size in x.shape[2:])
        tokens, rows = height * width, VIEWS * height * width
        # numbers but for the batch, so that an export leaves the batch open
        parts = torch.split(self.projection(x), [VIEWS * heads * dim for dim in dims], dim=1)
        query, key, value = (
            part.reshape(-1, heads, dim, rows) for part, dim in zip(parts, dims, strict=True)
        )
        # (N, heads, 3 queries * hw, 3 keys * hw): every hw numbers are a row of one map
        products = torch.matmul(query.transpose(2, 3), key)
        maps = products.reshape(-1, heads, rows * VIEWS, tokens).softmax(dim=-1)
        # the value is repeated for each key, so this product sums over the keys as well
        attended = torch.matmul(value, maps.reshape(-1, heads, rows, rows).transpose(2, 3))
        attended = attended.reshape(-1, heads * dims[-1], VIEWS, tokens).sum(dim=2)
        y: Tensor = self.output(
            self.activation(attended.reshape(-1, heads * dims[-1], height, width))
        )
        return y


class FoldedHead(nn.Module):
    """Gated fusions and head; its first convolution acts on local and injected separately."""

    def __init__(self, model: LeMoRe) -> None:
        super().__init__()
        config = model.config
        merge, classifier = _fuse(model.head[0]), model.head[3]
        fusions = [fusion for fusion in model.fusions if isinstance(fusion, GatedFusion)]
        self.fusion_at_head = config.fusion_at_head
        self.channels = [stage.channels for stage in config.stages]
        self.size = config.logit_size
        self.locals = nn.ModuleList(_fuse(fusion.local) for fusion in fusions)
        self.gates = nn.ModuleList(
            nn.Sequential(_fuse(fusion.gate), nn.Sigmoid()) for fusion in fusions
        )
        self.injections = nn.ModuleList(
            _chain(_fuse(fusion.inject), merge.weight) for fusion in fusions
        )
        self.injection = LinearInjection(config)
        self.merge = merge
        self.activation = nn.ReLU()
        self.classifier = copy.deepcopy(classifier)

    def forward(self, features: Sequence[Tensor], tokens: Tensor) -> Tensor:
        """Map four features (N, C_i, h_i, w_i) and tokens (N, sum of C_i, h, w) to logits."""
        shares = torch.split(tokens, self.channels, dim=1)
        injected = [inject(share) for inject, share in zip(self.injections, shares, strict=True)]
        merged = self.merge(self._gated(features, shares)) + self.injection(injected)
        logits: Tensor = self.classifier(self.activation(merged))
        return logits

    def _gated(self, features: Sequence[Tensor], shares: Sequence[Tensor]) -> Tensor:
        first, *others = features
        if self.fusion_at_head:
            first = halve_features(first)
        gated = [
            local(x) * upsample(gate(share), x.shape[-2:])
            for local, gate, x, share in zip(
                self.locals, self.gates, [first, *others], shares, strict=True
            )
        ]
        if not self.fusion_at_head:
            gated[0] = halve_features(gated[0])
        return sum((upsample(x, self.size) for x in gated[1:]), start=gated[0])


class LinearInjection(nn.Module):
    """Resize the injected features of all scales from 1/64 to 1/8, and sum them.

    Each scale is ``rows_i X columns_i^T``; their sum is the row matrices side by side, times the
    ``X columns_i^T`` below each other.
    """

    rows: Tensor

    def __init__(self, config: LeMoReConfig) -> None:
        super().__init__()
        rows, columns = (_resizings(config, axis) for axis in (0, 1))
        self.register_buffer('rows', torch.cat(rows, dim=1))
        for i, matrix in enumerate(columns):
            self.register_buffer(f'columns_{i}', matrix.T.contiguous())

    def forward(self, injected: Sequence[Tensor]) -> Tensor:
        """Map four tensors (N, C, h, w) at 1/64 to their sum (N, C, H, W) at 1/8."""
        spread = [torch.matmul(x, getattr(self, f'columns_{i}')) for i, x in enumerate(injected)]
        return torch.matmul(self.rows, torch.cat(spread, dim=2))


def fold(model: LeMoRe, std: Sequence[float]) -> FoldedLeMoRe:
    """Return a folded copy of ``model``: its input is ``pixels - mean``, not divided by ``std``."""
    config = model.config
    head = FoldedHead(model)
    encoder = copy.deepcopy(model)
    del encoder.fusions, encoder.head
    _fold_children(encoder)
    if config.height % TOKEN_STRIDE or config.width % TOKEN_STRIDE:
        # the ONNX exporter writes adaptive pooling only if all windows have one size
        tokens = token_size(config.height, config.width)
        encoder.token_pool = MatrixPool(config.stage_sizes, tokens)
    stem = encoder.stem.get_submodule('0')
    with torch.no_grad():
        stem.get_parameter('weight').div_(torch.tensor(std).view(1, 3, 1, 1))
    return FoldedLeMoRe(config, encoder, head).requires_grad_(requires_grad=False).eval()


def _fold_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, ConvBatchNorm):
            module.register_module(name, _fuse(child))
        elif isinstance(child, SeparableDepthwise):
            module.register_module(name, _fold_depthwise(child))
        elif isinstance(child, NestedAttention):
            module.register_module(name, FoldedAttention(child))
        else:
            _fold_children(child)


def _fuse(layer: nn.Module) -> nn.Conv2d:
    """Return a convolution and the BatchNorm after it as one convolution with a bias."""
    convolution, norm = layer.children()
    return fuse_conv_bn_eval(cast('nn.Conv2d', convolution), cast('nn.BatchNorm2d', norm))


def _chain(first: nn.Conv2d, second: Tensor) -> nn.Conv2d:
    """Return a 1x1 convolution and one of weight ``second`` without bias as one."""
    return _pointwise(
        torch.einsum('om,mihw->oihw', second[:, :, 0, 0], first.weight),
        torch.mv(second[:, :, 0, 0], _bias(first)),
    )


def _pointwise(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    convolution.weight = nn.Parameter(weight.detach().contiguous())
    convolution.bias = nn.Parameter(bias.detach().contiguous())
    return convolution


def _bias(convolution: nn.Conv2d) -> Tensor:
    bias = convolution.bias
    return torch.zeros(convolution.out_channels) if bias is None else bias


def _fold_depthwise(mixing: SeparableDepthwise) -> nn.Sequential:
    layers: list[nn.Module] = []
    for rows, columns, norm, activation in (list(mixing)[:4], list(mixing)[4:]):
        joined = _join_depthwise(cast('nn.Conv2d', rows), cast('nn.Conv2d', columns))
        layers += [_fuse(nn.Sequential(joined, norm)), activation]
    return nn.Sequential(*layers)


def _join_depthwise(rows: nn.Conv2d, columns: nn.Conv2d) -> nn.Conv2d:
    """Return a depthwise 3x1 and the depthwise 1x3 after it as one depthwise 3x3.

    Equal at the borders too: each pads only along its own axis, and neither has a bias.
    """
    channels, dilation = rows.out_channels, rows.dilation[0]
    joined = nn.Conv2d(
        channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=False
    )
    joined.weight = nn.Parameter((rows.weight * columns.weight).detach())
    return joined.eval()


def _projection(attention: NestedAttention) -> nn.Conv2d:
    """Return queries, keys and the summed values as one convolution, channels (head, dim, view).

    The queries include ``1 / sqrt(key_dim)``, the values the mean of the nine maps.
    """
    queries, keys, values = (
        [_fuse(layer) for layer in layers]
        for layers in (attention.queries, attention.keys, attention.values)
    )
    scale = attention.key_dim**-0.5

    def collect(get: Callable[[nn.Conv2d], Tensor]) -> Tensor:
        value = torch.stack([get(layer) for layer in values]).sum(0) / VIEWS**2
        parts = (
            [get(layer) * scale for layer in queries],
            [get(layer) for layer in keys],
            [value] * VIEWS,
        )
        return torch.cat([torch.stack(part, dim=1).flatten(0, 1) for part in parts])

    return _pointwise(collect(lambda layer: layer.weight), collect(_bias))


def _resizings(config: LeMoReConfig, axis: int) -> list[Tensor]:
    """Return each scale's matrix (size at 1/8, size at 1/64) for injected features."""
    tokens = token_size(config.height, config.width)[axis]
    sizes = [size[axis] for size in config.stage_sizes]
    output = sizes[1]
    others = [resizing_matrix(s, output) @ resizing_matrix(tokens, s) for s in sizes[1:]]
    first = (
        resizing_matrix(tokens, output)
        if config.fusion_at_head
        else halving_matrix(sizes[0]) @ resizing_matrix(tokens, sizes[0])
    )
    return [first, *others]


class MatrixPool(nn.Module):
    """Equal to ``nn.AdaptiveAvgPool2d``, as two matrix products, for the given sizes.

    The ONNX exporter cannot write windows that overlap or differ in size.
    """

    def __init__(self, sizes: list[tuple[int, int]], output: tuple[int, int]) -> None:
        super().__init__()
        self.output = output
        for axis in (0, 1):
            for size in {s[axis] for s in sizes}:
                name = self._name(axis, size)
                self.register_buffer(name, _averages(size, output[axis]), persistent=False)

    @staticmethod
    def _name(axis: int, size: int) -> str:
        return f'{"rows" if axis == 0 else "columns"}_{size}'

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, *output)."""
        rows = getattr(self, self._name(0, int(x.shape[2])))
        columns = getattr(self, self._name(1, int(x.shape[3])))
        return torch.matmul(torch.matmul(rows, x), columns.transpose(0, 1))


def halve_features(x: Tensor) -> Tensor:
    """Pool ``x`` (N, C, H, W) by 2x2 to (N, C, ceil(H / 2), ceil(W / 2)).

    Equal to ``avg_pool2d(x, 2, ceil_mode=True)``, which is nine times slower in ONNX Runtime.
    """
    for axis in (2, 3):
        if int(x.shape[axis]) % 2:
            # the mean of the cut last window is that of its last row twice
            x = torch.cat([x, x.narrow(axis, int(x.shape[axis]) - 1, 1)], dim=axis)
    return functional.avg_pool2d(x, 2)


def halving_matrix(size: int) -> Tensor:
    """Return :func:`halve_features` along one axis as (ceil(size / 2), size)."""
    return functional.avg_pool1d(torch.eye(size)[None], 2, ceil_mode=True)[0].T


def resizing_matrix(size: int, output: int) -> Tensor:
    """Return bilinear resizing along one axis (``align_corners=False``) as (output, size)."""
    resized = functional.interpolate(
        torch.eye(size)[None], size=output, mode='linear', align_corners=False
    )
    return resized[0].T


def _averages(size: int, output: int) -> Tensor:
    matrix = torch.zeros(output, size)
    for i in range(output):
        start, end = i * size // output, -(-(i + 1) * size // output)
        matrix[i, start:end] = 1.0 / (end - start)
    return matrix
