"""The configuration of a network that is not LeMoRe's own: only its sizes are known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lemore_core.model.variants import MAX_CLASSES, MAX_SIDE, ConfigError

KIND = 'imported'


@dataclass(frozen=True)
class ImportedConfig:
    """What is known of an imported network: its classes, and the one input size that it takes."""

    classes: int
    height: int
    width: int

    def __post_init__(self) -> None:
        bounds = {'classes': (2, MAX_CLASSES), 'height': (1, MAX_SIDE), 'width': (1, MAX_SIDE)}
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                msg = f'{name} is {value!r}, it must be an integer from {low} to {high}'
                raise ConfigError(msg)

    def for_size(self, height: int, width: int) -> ImportedConfig:
        """Return this configuration; an imported network has one size.

        Raises:
            ConfigError: another size is asked for.
        """
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
        """Read what :meth:`to_dict` wrote.

        Raises:
            ConfigError: a field is missing, unknown or out of bounds.
        """
        fields = {name: value for name, value in values.items() if name != 'kind'}
        try:
            return cls(**fields)
        except TypeError as error:
            msg = f'the configuration of the imported network is malformed: {error}'
            raise ConfigError(msg) from error
