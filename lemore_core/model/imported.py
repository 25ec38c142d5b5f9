"""Configuration of an imported network: its sizes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lemore_core.common.validation import REQUIRED, check_fields, from_mapping, option
from lemore_core.model.variants import MAX_CHANNELS, MAX_CLASSES, MAX_SIDE, ConfigError

KIND = 'imported'


@dataclass(frozen=True)
class ImportedConfig:
    """Classes, the one input size, and the length of the descriptor of an imported network."""

    classes: int = option(REQUIRED, low=2, high=MAX_CLASSES)
    height: int = option(REQUIRED, low=1, high=MAX_SIDE)
    width: int = option(REQUIRED, low=1, high=MAX_SIDE)
    descriptor: int = option(0, 'zero without one', low=0, high=2 * MAX_CHANNELS)

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)

    def for_size(self, height: int, width: int) -> ImportedConfig:
        """Return this configuration, or refuse a size that is not its one."""
        if (height, width) != (self.height, self.width):
            msg = (
                f'the imported network takes {self.width}x{self.height} pixels, '
                f'it cannot run at {width}x{height}'
            )
            raise ConfigError(msg)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON holds."""
        return {'kind': KIND, **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ImportedConfig:
        """Read plain values of :meth:`to_dict`."""
        fields = {name: value for name, value in values.items() if name != 'kind'}
        return from_mapping(cls, fields, 'the imported network', ConfigError)
