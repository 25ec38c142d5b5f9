"""The frozen configurations of the network: nano, tiny (the paper's), small and base."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from lemore_core.common.errors import LemoreError
from lemore_core.common.validation import REQUIRED, check_fields, from_mapping, option

MAX_CLASSES = 65535  # label images are 16 bit at most, and one value means unlabelled
MAX_SIDE = 8192
MAX_CHANNELS = 4096
MAX_BLOCKS = 64
STAGES = 4


class ConfigError(LemoreError):
    """A network configuration with a value that is missing, unknown or out of bounds."""


@dataclass(frozen=True)
class StageConfig:
    """One stage: inverted residuals that halve the resolution, then Cartesian encoders.

    ``expansions`` holds one entry for each inverted residual; the first has stride 2. ``kernels``
    holds their kernel sizes.
    """

    channels: int = option(REQUIRED, low=1, high=MAX_CHANNELS)
    expansions: tuple[int, ...] = option(REQUIRED, low=1, high=16)
    kernels: tuple[int, ...] = option(REQUIRED, choices=(1, 3, 5, 7))
    encoders: int = option(REQUIRED, low=0, high=MAX_BLOCKS)

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)
        if not 1 <= len(self.expansions) <= MAX_BLOCKS:
            msg = f'expansions has {len(self.expansions)} entries, allowed: 1 to {MAX_BLOCKS}'
            raise ConfigError(msg)
        if len(self.kernels) != len(self.expansions):
            msg = f'kernels {self.kernels} and expansions {self.expansions} differ in length'
            raise ConfigError(msg)


@dataclass(frozen=True)
class LeMoReConfig:
    """Everything that fixes the network's shape; ``height`` and ``width`` tie the axis weights.

    The switches rebuild the rows of the paper's Table 2. ``fusion_at_head`` pools the 1/4 feature
    before its gated fusion instead of after it (cheaper; not in the paper).
    """

    stem_channels: int = option(REQUIRED, low=1, high=MAX_CHANNELS)
    stages: tuple[StageConfig, ...] = option(REQUIRED)
    fusion_channels: int = option(REQUIRED, low=32, high=MAX_CHANNELS)
    bottleneck_blocks: int = option(REQUIRED, low=1, high=MAX_BLOCKS)
    classes: int = option(REQUIRED, low=2, high=MAX_CLASSES)
    height: int = option(REQUIRED, low=32, high=MAX_SIDE)
    width: int = option(REQUIRED, low=32, high=MAX_SIDE)
    key_dim: int = option(16, low=1, high=MAX_CHANNELS)
    value_dim: int = option(32, low=1, high=MAX_CHANNELS)
    ffn_ratio: int = option(4, low=1, high=16)
    transverse: bool = True
    frontal: bool = True
    lateral: bool = True
    channel_attention: bool = True
    nested_attention: bool = True
    fusion_at_head: bool = False

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)
        if len(self.stages) != STAGES:
            msg = f'stages has {len(self.stages)} entries, the network has {STAGES}'
            raise ConfigError(msg)
        if not (self.transverse or self.frontal or self.lateral):
            msg = 'transverse, frontal and lateral are all off, the network needs one view'
            raise ConfigError(msg)

    @property
    def heads(self) -> int:
        """Attention heads: one for every 32 fusion channels."""
        return self.fusion_channels // 32

    @property
    def stage_sizes(self) -> list[tuple[int, int]]:
        """(height, width) of the features of each stage: 1/4, 1/8, 1/16, 1/32."""
        sizes = []
        height, width = halve(self.height), halve(self.width)
        for _ in self.stages:
            height, width = halve(height), halve(width)
            sizes.append((height, width))
        return sizes

    @property
    def logit_size(self) -> tuple[int, int]:
        """(height, width) of the logits: 1/8 of the input."""
        return self.stage_sizes[1]

    @property
    def descriptor(self) -> int:
        """Length of an image's descriptor: mean and deviation of each channel of the tokens."""
        return 2 * sum(stage.channels for stage in self.stages)

    def for_size(self, height: int, width: int) -> LeMoReConfig:
        """Return the same network for another input size."""
        return dataclasses.replace(self, height=height, width=width)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON holds."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LeMoReConfig:
        """Read plain values of :meth:`to_dict`."""
        return from_mapping(cls, values, 'the network configuration', ConfigError)


def halve(size: int) -> int:
    """Return half of ``size``, rounded up, as a stride-2 convolution does."""
    return -(-size // 2)


_EXPANSIONS = ((4, 3), (3, 3), (3, 3), (6, 6))
_KERNELS = ((3, 3), (5, 5), (3, 3), (5, 5))


def _stages(
    channels: tuple[int, ...], encoders: tuple[int, ...], *, deeper: bool = False
) -> tuple[StageConfig, ...]:
    stages = [
        StageConfig(c, e, k, n)
        for c, e, k, n in zip(channels, _EXPANSIONS, _KERNELS, encoders, strict=True)
    ]
    if deeper:
        last = stages[-1]
        stages[-1] = dataclasses.replace(
            last, expansions=(*last.expansions, 6), kernels=(*last.kernels, 3)
        )
    return tuple(stages)


_VARIANTS: dict[str, dict[str, Any]] = {
    'nano': {
        'stem_channels': 8,
        'stages': _stages((8, 16, 32, 64), (1, 1, 1, 1)),
        'fusion_channels': 64,
        'bottleneck_blocks': 1,
    },
    'tiny': {
        'stem_channels': 16,
        'stages': _stages((16, 32, 64, 96), (1, 1, 2, 2)),
        'fusion_channels': 128,
        'bottleneck_blocks': 2,
    },
    'small': {
        'stem_channels': 16,
        'stages': _stages((24, 48, 96, 128), (1, 1, 2, 2), deeper=True),
        'fusion_channels': 192,
        'bottleneck_blocks': 2,
    },
    'base': {
        'stem_channels': 16,
        'stages': _stages((32, 64, 128, 160), (1, 1, 2, 2), deeper=True),
        'fusion_channels': 256,
        'bottleneck_blocks': 2,
    },
}
VARIANTS = tuple(_VARIANTS)


def size_of(config: object) -> str | None:
    """Return the name of the variant that a configuration is of, None for another network."""
    for name, fields in _VARIANTS.items():
        if all(getattr(config, key, None) == value for key, value in fields.items()):
            return name
    return None


def variant(
    name: str, *, classes: int, height: int = 512, width: int = 512, **switches: bool
) -> LeMoReConfig:
    """Return the configuration called ``name`` for a number of classes and an input size.

    ``switches`` are the boolean fields of :class:`LeMoReConfig`.
    """
    if name not in _VARIANTS:
        msg = f'no model is called {name!r}, there are {", ".join(VARIANTS)}'
        raise ConfigError(msg)
    fields: dict[str, Any] = {**_VARIANTS[name], **switches}
    return LeMoReConfig(**fields, classes=classes, height=height, width=width)
