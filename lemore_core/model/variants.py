"""The frozen configurations of the network: nano, tiny (the paper's), small and base."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from lemore_core.errors import LemoreError

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

    channels: int
    expansions: tuple[int, ...]
    kernels: tuple[int, ...]
    encoders: int

    def __post_init__(self) -> None:
        _check('channels', self.channels, 1, MAX_CHANNELS)
        _check('encoders', self.encoders, 0, MAX_BLOCKS)
        _check('the number of inverted residuals', len(self.expansions), 1, MAX_BLOCKS)
        for expansion in self.expansions:
            _check('expansions', expansion, 1, 16)
        if len(self.kernels) != len(self.expansions):
            msg = f'kernels {self.kernels} and expansions {self.expansions} differ in length'
            raise ConfigError(msg)
        for kernel in self.kernels:
            if kernel not in (1, 3, 5, 7):
                msg = f'kernels is {self.kernels}, each must be 1, 3, 5 or 7'
                raise ConfigError(msg)


@dataclass(frozen=True)
class LeMoReConfig:
    """Everything that fixes the network's shape; ``height`` and ``width`` tie the axis weights.

    The switches rebuild the rows of the paper's Table 2. ``fusion_at_head`` pools the 1/4 feature
    before its gated fusion instead of after it (cheaper; not in the paper).
    """

    stem_channels: int
    stages: tuple[StageConfig, ...]
    fusion_channels: int
    bottleneck_blocks: int
    classes: int
    height: int
    width: int
    key_dim: int = 16
    value_dim: int = 32
    ffn_ratio: int = 4
    transverse: bool = True
    frontal: bool = True
    lateral: bool = True
    channel_attention: bool = True
    nested_attention: bool = True
    fusion_at_head: bool = False

    def __post_init__(self) -> None:
        if len(self.stages) != STAGES:
            msg = f'stages has {len(self.stages)} entries, the network has {STAGES}'
            raise ConfigError(msg)
        _check('classes', self.classes, 2, MAX_CLASSES)
        _check('height', self.height, 32, MAX_SIDE)
        _check('width', self.width, 32, MAX_SIDE)
        _check('stem_channels', self.stem_channels, 1, MAX_CHANNELS)
        _check('fusion_channels', self.fusion_channels, 32, MAX_CHANNELS)
        _check('bottleneck_blocks', self.bottleneck_blocks, 1, MAX_BLOCKS)
        _check('key_dim', self.key_dim, 1, MAX_CHANNELS)
        _check('value_dim', self.value_dim, 1, MAX_CHANNELS)
        _check('ffn_ratio', self.ffn_ratio, 1, 16)
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

    def for_size(self, height: int, width: int) -> LeMoReConfig:
        """Return the same network for another input size."""
        return dataclasses.replace(self, height=height, width=width)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON holds."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LeMoReConfig:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ConfigError: a field is missing, unknown, of the wrong type or out of bounds.

        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            msg = f'unknown fields {unknown} in the network configuration'
            raise ConfigError(msg)
        try:
            stages = tuple(
                StageConfig(
                    channels=stage['channels'],
                    expansions=tuple(stage['expansions']),
                    kernels=tuple(stage['kernels']),
                    encoders=stage['encoders'],
                )
                for stage in values['stages']
            )
            return cls(**{**values, 'stages': stages})
        except (KeyError, TypeError) as error:
            msg = f'the network configuration is incomplete or malformed: {error}'
            raise ConfigError(msg) from error


def halve(size: int) -> int:
    """Return what a stride-2 convolution leaves of ``size``: half of it, rounded up."""
    return -(-size // 2)


def _check(name: str, value: object, low: int, high: int) -> None:
    # bool is an int to Python, but True channels is a mistake
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        msg = f'{name} is {value!r}, it must be an integer from {low} to {high}'
        raise ConfigError(msg)


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


def variant(
    name: str, *, classes: int, height: int = 512, width: int = 512, **switches: bool
) -> LeMoReConfig:
    """Return the configuration called ``name`` for a number of classes and an input size.

    ``switches`` are the boolean fields of :class:`LeMoReConfig`.

    Raises:
        ConfigError: no variant has that name, or a value is out of bounds.

    """
    if name not in _VARIANTS:
        msg = f'no model is called {name!r}, there are {", ".join(VARIANTS)}'
        raise ConfigError(msg)
    fields: dict[str, Any] = {**_VARIANTS[name], **switches}
    return LeMoReConfig(**fields, classes=classes, height=height, width=width)
