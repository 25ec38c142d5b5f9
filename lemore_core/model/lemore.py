"""LeMoRe assembled: stem, stages, bottleneck, gated fusion, head (Abid et al., ICIP 2025)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lemore_core.model.cartesian_encoder import AxisMixing, CartesianEncoder, resample_axis_weight
from lemore_core.model.gated_fusion import GatedFusion, upsample
from lemore_core.model.layers import ConvBatchNorm, InvertedResidual
from lemore_core.model.nested_attention import BottleneckBlock
from lemore_core.model.variants import LeMoReConfig, StageConfig

TOKEN_STRIDE = 64


class LeMoRe(nn.Module):
    """The network, for inputs of ``config.height x config.width``.

    It takes other input sizes, but resamples its axis weights for them anew in each pass, as
    training at several resolutions wants it: what serves another size is :meth:`resized` once.
    """

    def __init__(
        self, config: LeMoReConfig, *, dropout: float = 0.1, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.config = config
        channels = [stage.channels for stage in config.stages]
        inputs = [config.stem_channels, *channels[:-1]]
        self.stem = nn.Sequential(
            ConvBatchNorm(3, config.stem_channels, 3, 2),
            nn.ReLU(inplace=True),
            InvertedResidual(
                config.stem_channels, config.stem_channels, kernel=3, expansion=1, stride=1
            ),
        )
        self.stages = nn.ModuleList(
            _stage(config, stage, inputs[i], config.stage_sizes[i])
            for i, stage in enumerate(config.stages)
        )
        self.token_pool: nn.Module = nn.AdaptiveAvgPool2d(token_size(config.height, config.width))
        self.bottleneck = nn.Sequential(
            *(
                BottleneckBlock(
                    sum(channels),
                    heads=config.heads,
                    key_dim=config.key_dim,
                    value_dim=config.value_dim,
                    ffn_ratio=config.ffn_ratio,
                    nested_attention=config.nested_attention,
                    drop_path=drop_path,
                )
                for _ in range(config.bottleneck_blocks)
            )
        )
        self.fusions = nn.ModuleList(GatedFusion(c, config.fusion_channels) for c in channels)
        classifier = nn.Conv2d(config.fusion_channels, config.classes, 1)
        self.head = nn.Sequential(
            ConvBatchNorm(config.fusion_channels, config.fusion_channels),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            classifier,
        )
        # for tensors without numbers PyTorch would load its compiler, which takes seconds
        if not classifier.weight.is_meta:
            self.apply(_initialise)
            # the first predictions are near uniform, whatever the number of classes
            nn.init.normal_(classifier.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised RGB (N, 3, H, W) to logits (N, classes, ceil(H / 8), ceil(W / 8)).

        H and W are the configuration's height and width, or those of a training step.
        """
        features, tokens = self.encode(x)
        tokens = self.bottleneck(tokens)
        shares = torch.split(tokens, [f.shape[1] for f in features], dim=1)
        logits: Tensor = self.head(self._fuse(features, shares))
        return logits

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Map normalised RGB (N, 3, H, W) to the stages' features and the tokens of the bottleneck.

        The features are (N, C_i, h_i, w_i) at 1/4, 1/8, 1/16 and 1/32, the tokens (N, sum of the
        C_i, ceil(H / 64), ceil(W / 64)).
        """
        features = []
        size = (x.shape[-2], x.shape[-1])
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features, torch.cat([self._pooled(feature, size) for feature in features], dim=1)

    def _pooled(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        if size == (self.config.height, self.config.width):
            pooled: Tensor = self.token_pool(feature)
            return pooled
        return functional.adaptive_avg_pool2d(feature, token_size(*size))

    def _fuse(self, features: list[Tensor], shares: tuple[Tensor, ...]) -> Tensor:
        size = features[1].shape[-2:]
        if self.config.fusion_at_head:
            features = [_to_head(features[0]), *features[1:]]
        fused = [
            fusion(feature, share)
            for fusion, feature, share in zip(self.fusions, features, shares, strict=True)
        ]
        if not self.config.fusion_at_head:
            fused[0] = _to_head(fused[0])
        return sum((upsample(f, size) for f in fused[1:]), start=fused[0])

    def resized(self, height: int, width: int) -> LeMoRe:
        """Return this network for another input size, its axis weights resampled.

        Parameters are shared where they do not depend on the size.
        """
        model = LeMoRe(self.config.for_size(height, width))
        model.to(next(self.parameters()))
        state = self.state_dict()
        with torch.no_grad():
            for name, module in model.named_modules():
                if isinstance(module, AxisMixing):
                    key = f'{name}.weight'
                    state[key] = resample_axis_weight(state[key], module.weight.shape[0])
        model.load_state_dict(state, assign=True)
        return model.train(self.training)


def _to_head(x: Tensor) -> Tensor:
    # ceil_mode: a feature of odd size keeps its last row and column
    return functional.avg_pool2d(x, 2, ceil_mode=True)


def token_size(height: int, width: int) -> tuple[int, int]:
    """Return the size of the token grid of an input: 1/64 of it, rounded up."""
    return -(-height // TOKEN_STRIDE), -(-width // TOKEN_STRIDE)


def _stage(
    config: LeMoReConfig, stage: StageConfig, inputs: int, size: tuple[int, int]
) -> nn.Sequential:
    blocks: list[nn.Module] = [
        InvertedResidual(
            inputs if i == 0 else stage.channels,
            stage.channels,
            kernel=kernel,
            expansion=expansion,
            stride=2 if i == 0 else 1,
        )
        for i, (expansion, kernel) in enumerate(zip(stage.expansions, stage.kernels, strict=True))
    ]
    blocks += [
        CartesianEncoder(
            stage.channels,
            *size,
            transverse=config.transverse,
            frontal=config.frontal,
            lateral=config.lateral,
            channel_attention=config.channel_attention,
        )
        for _ in range(stage.encoders)
    ]
    return nn.Sequential(*blocks)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
        if module.groups > 1:
            # fan_out counts every group's outputs, a depthwise filter sees only its own
            with torch.no_grad():
                module.weight.mul_(module.groups**0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
