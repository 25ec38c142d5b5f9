"""What a parameter means and which values it takes, and the refusal of others."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

from lemore_core.errors import LemoreError

TYPE_NAMES = {
    str: 'string',
    bool: 'boolean',
    int: 'integer',
    float: 'number',
    tuple: 'list of strings',
}


class ParameterError(LemoreError):
    """A parameter with a value of the wrong type, out of range or not allowed."""


@dataclass(frozen=True)
class Spec:
    """What a parameter means and which values it takes.

    ``live`` ones may be set while the node runs and act on the next frame; the others are read
    once, when the node starts.
    """

    description: str
    choices: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    pattern: str = ''
    allowed: str = ''
    live: bool = False

    def allowed_text(self, kind: type) -> str:
        """Say which values are allowed."""
        if self.allowed:
            return self.allowed
        if self.choices:
            return ', '.join(self.choices)
        if self.bounds:
            return f'{self.bounds[0]} to {self.bounds[1]}'
        return 'true or false' if kind is bool else f'any {TYPE_NAMES[kind]}'

    def admits(self, value: Any) -> bool:
        """Tell whether a value of the right type is one of those allowed."""
        if self.choices and value not in self.choices:
            return False
        if self.bounds and not self.bounds[0] <= value <= self.bounds[1]:
            return False
        texts = value if isinstance(value, tuple) else (value,)
        return not self.pattern or all(re.fullmatch(self.pattern, text) for text in texts)


def parameter(default: Any, description: str, **options: Any) -> Any:
    """Return a field of a frozen dataclass of parameters; ``options`` are those of ``Spec``."""
    return field(default=default, metadata={'spec': Spec(description, **options)})


def check(entry: dataclasses.Field[Any], value: Any) -> None:
    """Refuse a value of the wrong type or one that is not allowed.

    Raises:
        ParameterError: with the parameter, the value and what is allowed.

    """
    # bool is an int to Python, hence no isinstance
    if type(value) is not type(entry.default) or not entry.metadata['spec'].admits(value):
        raise ParameterError(refusal(entry, value))


def natural(value: Any) -> Any:
    """Return a value as ROS holds it in the type that a frozen dataclass holds: lists as tuples."""
    return tuple(value) if isinstance(value, list) else value


def refusal(entry: dataclasses.Field[Any], value: Any) -> str:
    """Say that a parameter cannot have a value, with what is allowed."""
    kind = type(entry.default)
    shown = TYPE_NAMES.get(type(value), type(value).__name__)
    mismatch = '' if type(value) is kind else f' ({shown}, not {TYPE_NAMES[kind]})'
    return (
        f'{entry.name} is {value!r}{mismatch}, allowed: {entry.metadata["spec"].allowed_text(kind)}'
    )
