"""Fold the network to the graph that every backend runs: equal, in fewer and cheaper steps.

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
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lemore_core import checkpoint
from lemore_core.export import PrecisionError
from lemore_core.model.cartesian_encoder import SeparableDepthwise
from lemore_core.model.gated_fusion import GatedFusion, upsample
from lemore_core.model.layers import ConvBatchNorm
from lemore_core.model.lemore import TOKEN_STRIDE, LeMoRe, token_size
from lemore_core.model.nested_attention import VIEWS, NestedAttention
from lemore_core.model.variants import LeMoReConfig


class ServingGraph(nn.Module):
    """Mean subtraction, folded network, and logits with the classes last, for one input size.

    Maps RGB ``pixels`` (N, height, width, 3) uint8 to logits (N, height / 8, width / 8, classes)
    float32, sizes rounded up, and descriptors (N, 2 * channels of the tokens) float32. After
    :meth:`halve` the network computes in half precision.
    """

    mean: Tensor

    def __init__(self, card: checkpoint.ModelCard, network: FoldedLeMoRe) -> None:
        super().__init__()
        self.network = network
        self.is_half = False
        self.register_buffer('mean', torch.tensor(card.mean).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and descriptors of ``pixels``; shapes and dtypes as above."""
        # cast before the transpose: TensorRT takes uint8 only at the edge of a graph
        x = pixels.float().permute(0, 3, 1, 2) - self.mean
        # the mean is no number of half precision, so it is subtracted in single precision
        logits, tokens = self.network(x.half() if self.is_half else x)
        if self.is_half:
            logits, tokens = logits.float(), tokens.float()
        return logits.permute(0, 2, 3, 1), describe(tokens)

    def halve(self) -> ServingGraph:
        """Convert the network to half precision."""
        for name, tensor in self.network.state_dict().items():
            finite = tensor.isfinite()
            if not torch.equal(finite, tensor.half().isfinite()):
                largest = float(tensor[finite].abs().max())
                msg = f'{name} holds {largest:g}, too large for fp16: use fp32'
                raise PrecisionError(msg)
        self.network.half()
        self.is_half = True
        return self


def load_graph(path: Path, height: int, width: int) -> ServingGraph:
    """Load a checkpoint as the graph for one network size; its axis weights are resampled once."""
    card, model = checkpoint.load(path)
    return ServingGraph(card, fold(model.resized(height, width), card.std)).eval()


class FoldedLeMoRe(nn.Module):
    """Result of :func:`fold`, for the input size of ``config``."""

    def __init__(self, config: LeMoReConfig, encoder: LeMoRe, head: FoldedHead) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.head = head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map RGB less its mean (N, 3, H, W) to logits and the tokens that enter the bottleneck.

        They are (N, classes, ceil(H / 8), ceil(W / 8)) and (N, C, ceil(H / 64), ceil(W / 64)).
        """
        features, tokens = self.encoder.encode(x)
        return self.head(features, self.encoder.bottleneck(tokens)), tokens


def describe(tokens: Tensor) -> Tensor:
    """Return the mean and deviation over the image of tokens (N, C, h, w), (N, 2 * C)."""
    deviation, mean = torch.std_mean(tokens, (2, 3), correction=0)
    return torch.cat([mean, deviation], dim=1)


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
        attended = self.activation(attended.reshape(-1, heads * dims[-1], height, width))
        return cast('Tensor', self.output(attended))


class FoldedHead(nn.Module):
    """Gated fusions and head; its first convolution acts on local and injected separately."""

    def __init__(self, model: LeMoRe) -> None:
        super().__init__()
        config = model.config
        fusions = [fusion for fusion in model.fusions if isinstance(fusion, GatedFusion)]
        self.fusion_at_head = config.fusion_at_head
        self.channels = [stage.channels for stage in config.stages]
        self.size = config.logit_size
        self.locals = nn.ModuleList(_fuse(fusion.local) for fusion in fusions)
        gates = (_fuse(fusion.gate) for fusion in fusions)
        self.gates = nn.ModuleList(nn.Sequential(gate, nn.Sigmoid()) for gate in gates)
        self.merge = _fuse(model.head[0])
        weight = self.merge.weight[:, :, 0, 0]
        self.injections = nn.ModuleList(_chain(_fuse(one.inject), weight) for one in fusions)
        self.injection = LinearInjection(config)
        self.activation = nn.ReLU()
        self.classifier = copy.deepcopy(model.head[3])

    def forward(self, features: Sequence[Tensor], tokens: Tensor) -> Tensor:
        """Map four features (N, C_i, h_i, w_i) and tokens (N, sum of C_i, h, w) to logits."""
        shares = torch.split(tokens, self.channels, dim=1)
        injected = [inject(share) for inject, share in zip(self.injections, shares, strict=True)]
        merged = self.merge(self._gated(features, shares)) + self.injection(injected)
        return cast('Tensor', self.classifier(self.activation(merged)))

    def _gated(self, features: Sequence[Tensor], shares: Sequence[Tensor]) -> Tensor:
        features = list(features)
        if self.fusion_at_head:
            features[0] = halve_features(features[0])
        gated = [
            local(x) * upsample(gate(share), x.shape[-2:])
            for local, gate, x, share in zip(self.locals, self.gates, features, shares, strict=True)
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
    """Replace every layer of a type in ``FOLDED`` below ``module``."""
    for name, child in module.named_children():
        folded = FOLDED.get(type(child))
        if folded is None:
            _fold_children(child)
        else:
            module.register_module(name, folded(child))


def _fuse(layer: nn.Module) -> nn.Conv2d:
    """Return a convolution and the BatchNorm after it as one convolution with a bias."""
    convolution, norm = layer.children()
    return fuse_conv_bn_eval(cast('nn.Conv2d', convolution), cast('nn.BatchNorm2d', norm))


def _chain(first: nn.Conv2d, second: Tensor) -> nn.Conv2d:
    """Return a 1x1 convolution and one of weight ``second`` (out, in) without bias as one."""
    weight = torch.einsum('om,mihw->oihw', second, first.weight)
    return _pointwise(weight, torch.mv(second, cast('Tensor', first.bias)))


def _pointwise(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    convolution.weight = nn.Parameter(weight.detach().contiguous())
    convolution.bias = nn.Parameter(bias.detach().contiguous())
    return convolution


def _fold_depthwise(mixing: SeparableDepthwise) -> nn.Sequential:
    """Return each depthwise 3x1 and the 1x3 after it as one depthwise 3x3."""
    # equal at the borders too: each pads only along its own axis, and neither has a bias
    layers: list[nn.Module] = []
    for rows, columns, norm, activation in cast('Any', (list(mixing)[:4], list(mixing)[4:])):
        sides = {'padding': rows.dilation[0], 'dilation': rows.dilation[0]}
        channels = rows.out_channels
        joined = nn.Conv2d(channels, channels, 3, groups=channels, bias=False, **sides).eval()
        joined.weight = nn.Parameter((rows.weight * columns.weight).detach())
        layers += [_fuse(nn.Sequential(joined, norm)), activation]
    return nn.Sequential(*layers)


def _projection(attention: NestedAttention) -> nn.Conv2d:
    """Return queries, keys and the summed values as one convolution, channels (head, dim, view)."""
    groups = (attention.queries, attention.keys, attention.values)
    layers = [[_fuse(layer) for layer in group] for group in groups]
    scale = attention.key_dim**-0.5

    def collect(get: Callable[[nn.Conv2d], Tensor]) -> Tensor:
        queries, keys, values = ([get(layer) for layer in group] for group in layers)
        value = torch.stack(values).sum(0) / VIEWS**2  # the mean of the nine maps
        parts = ([query * scale for query in queries], keys, [value] * VIEWS)
        return torch.cat([torch.stack(part, dim=1).flatten(0, 1) for part in parts])

    return _pointwise(
        collect(lambda layer: layer.weight), collect(lambda layer: cast('Tensor', layer.bias))
    )


FOLDED: Mapping[type[nn.Module], Callable[[Any], nn.Module]] = {
    ConvBatchNorm: _fuse,
    SeparableDepthwise: _fold_depthwise,
    NestedAttention: FoldedAttention,
}


def _resizings(config: LeMoReConfig, axis: int) -> list[Tensor]:
    """Return each scale's matrix (size at 1/8, size at 1/64) for injected features."""
    tokens = token_size(config.height, config.width)[axis]
    first, *others = (size[axis] for size in config.stage_sizes)
    output = others[0]
    halve = partial(functional.avg_pool1d, kernel_size=2, ceil_mode=True)  # :func:`halve_features`
    at_first = _matrix(halve, first) @ resizing_matrix(tokens, first)
    return [
        resizing_matrix(tokens, output) if config.fusion_at_head else at_first,
        *(resizing_matrix(side, output) @ resizing_matrix(tokens, side) for side in others),
    ]


class MatrixPool(nn.Module):
    """Equal to ``nn.AdaptiveAvgPool2d``, as two matrix products, for the given sizes."""

    def __init__(self, sizes: Sequence[tuple[int, int]], output: tuple[int, int]) -> None:
        super().__init__()
        for size in sizes:
            for axis, side in enumerate(size):
                pool = partial(functional.adaptive_avg_pool1d, output_size=output[axis])
                matrix = _matrix(pool, side).contiguous()
                self.register_buffer(f'axis_{axis}_{side}', matrix, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, *output)."""
        rows, columns = (getattr(self, f'axis_{axis}_{int(x.shape[2 + axis])}') for axis in (0, 1))
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


def resizing_matrix(size: int, output: int) -> Tensor:
    """Return bilinear resizing along one axis (``align_corners=False``) as (output, size)."""
    return _matrix(partial(functional.interpolate, size=output, mode='linear'), size)


def _matrix(operation: Callable[[Tensor], Tensor], size: int) -> Tensor:
    """Return a linear operation along one axis of ``size`` as a matrix."""
    return operation(torch.eye(size)[None])[0].T
