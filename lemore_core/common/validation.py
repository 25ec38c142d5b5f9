"""Declare dataclass fields with bounds, and check values against them.

``size: int = option(224, 'side in pixels', low=32, high=8192)`` declares a field, whose value 16
:func:`check_fields` refuses with ``size is 16, allowed: an integer from 32 to 8192``.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from lemore_core.common.errors import LemoreError, first_few, shown

REQUIRED: Any = dataclasses.MISSING  # the default of a field that must be given

_UNIONS = (Union, UnionType)
_MOST_REFUSALS = 8  # of one error
_MOST_TEXT = 4096  # characters, as of a path
_TYPE_NAMES = {
    int: 'an integer',
    float: 'a number',
    str: f'text of at most {_MOST_TEXT} characters',
    bool: 'true or false',
    Path: 'a path',
    NoneType: 'nothing',
}

Kind = TypeVar('Kind')


@dataclass(frozen=True)
class Entry:
    """Field of a dataclass: its description, bounds, name and type.

    Bounds, choices and the pattern, which all of a text matches, hold for every entry of a tuple.
    ``words`` says what they say badly; a ``live`` field may change while a node runs.
    """

    text: str = ''
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[Any, ...] = ()
    pattern: str = ''
    words: str = ''
    live: bool = False
    name: str = ''
    kind: Any = None
    required: bool = False

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        if self.choices and not self.words:
            return f'one of {", ".join(map(str, self.choices))}'
        return self.words or _describe(self.kind) + _describe_bounds(self)

    def refusal(self, value: Any, given: Any = None) -> str:
        """Return the error for a value, which shows it as it was ``given``, '' for an allowed one."""
        values = value if isinstance(value, tuple) else (value,)
        if _fits(self.kind, value) and all(one is None or self._admits(one) for one in values):
            return ''
        return f'{self.name} is {shown(given or value)}, allowed: {self.allowed}'

    def _admits(self, value: Any) -> bool:
        if self.choices and value not in self.choices:
            return False
        if isinstance(value, str):
            fits = not self.pattern or re.fullmatch(self.pattern, value)
            return len(value) <= _MOST_TEXT and bool(fits)
        # NaN lies between no bounds
        return not isinstance(value, int | float) or self.low <= value <= self.high


def option(default: Any, text: str = '', *, allowed: str = '', **bounds: Any) -> Any:
    """Declare a dataclass field: its default (or ``REQUIRED``), and what its :class:`Entry` has."""
    described = {'entry': Entry(text, words=allowed, **bounds)}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=described)
    return field(default=default, metadata=described)


@cache
def entries(cls: type[Any]) -> Mapping[str, Entry]:
    """Return the fields of a dataclass that its constructor takes, by name."""
    # Python 3.10 takes dataclasses.KW_ONLY for no type
    kinds = get_type_hints(cls, localns={'KW_ONLY': None})
    return {
        item.name: dataclasses.replace(
            item.metadata.get('entry', Entry()),
            name=item.name,
            kind=kinds[item.name],
            required=item.default is item.default_factory is dataclasses.MISSING,
        )
        for item in dataclasses.fields(cls)
        if item.init
    }


def check_fields(instance: Any, error: type[LemoreError]) -> None:
    """Raise ``error`` with every field of another type than declared or out of bounds."""
    known = entries(type(instance)).values()  # type: ignore[arg-type]
    refusals = [entry.refusal(getattr(instance, entry.name)) for entry in known]
    if any(refusals):
        raise error(_joined(refusals))


def from_mapping(cls: type[Kind], values: Any, source: str, error: type[LemoreError]) -> Kind:
    """Make a dataclass of plain values of YAML or JSON, or raise ``error`` with every wrong field.

    Lists become tuples, mappings dataclasses, text paths or numbers (1e-3 is text to YAML), as
    the fields declare. ``source`` names the values in errors.
    """
    if not isinstance(values, Mapping):
        msg = f'{source} is {shown(values)}, allowed: fields and their values'
        raise error(msg)
    known = entries(cls)  # type: ignore[arg-type]
    unknown = [str(name) for name in values if name not in known]
    refusals = []
    if unknown:
        refusals.append(f'unknown fields {", ".join(unknown)} (there are {", ".join(known)})')
    converted = {}
    for name, entry in known.items():
        if name not in values:
            refusals += [f'{name} is missing'] if entry.required else []
            continue
        # YAML takes 16 for a number where one of the choices is the text '16'
        value = str(values[name]) if entry.choices and entry.kind is str else values[name]
        try:
            converted[name] = _convert(entry.kind, value, name, error)
            refusals.append(entry.refusal(converted[name], value))
        except error as refused:  # a dataclass within this one
            refusals.append(str(refused))
    try:
        if not any(refusals):
            return cls(**converted)
    except error as refused:  # what its fields must be to each other
        refusals.append(str(refused))
    msg = f'{source}: {_joined(refusals)}'
    raise error(msg)


def _joined(refusals: Sequence[str]) -> str:
    return '; '.join(first_few([refusal for refusal in refusals if refusal], _MOST_REFUSALS))


def _convert(kind: Any, value: Any, name: str, error: type[LemoreError]) -> Any:
    inner = get_args(kind)
    if get_origin(kind) in _UNIONS:
        tried = (_convert(one, value, name, error) for one in inner if one is not NoneType)
        return value if value is None else next(tried)
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(
            _convert(one, entry, f'{name}[{place}]', error)
            for place, (one, entry) in enumerate(zip(kinds, value, strict=False))
        ) + tuple(value[len(kinds) :])
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return from_mapping(kind, value, name, error)  # type: ignore[arg-type]
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            return float(value)
    return value


def _fits(kind: Any, value: Any) -> bool:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in _UNIONS:
        return any(_fits(one, value) for one in inner)
    if origin is None:
        return kind is Any or _fits_plain(kind, value)
    if not isinstance(value, origin):
        return False
    if issubclass(origin, Mapping):
        return all(_fits(inner[0], k) and _fits(inner[1], v) for k, v in value.items())
    if origin is tuple and inner[-1] is not Ellipsis:
        return len(inner) == len(value) and all(map(_fits, inner, value))
    return all(_fits(inner[0], entry) for entry in value)


def _fits_plain(kind: type, value: Any) -> bool:
    # bool is an int to Python, but True channels are a mistake
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _describe(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in _UNIONS:
        # bounds follow: they must stand beside what they bound
        return ' or '.join(map(_describe, sorted(inner, key=lambda one: one is not NoneType)))
    if dataclasses.is_dataclass(kind):
        return f'with the fields {", ".join(entries(kind))}'  # type: ignore[arg-type]
    if origin is None:
        return _TYPE_NAMES.get(kind, str(getattr(kind, '__name__', kind)))
    if origin is tuple and inner[-1] is not Ellipsis:
        return f'a list of {len(inner)}, each {_describe(inner[0])}'
    if issubclass(origin, Mapping):
        return f'names, each with {_describe(inner[1])}'
    return f'a list, each {_describe(inner[0])}'


def _describe_bounds(known: Entry) -> str:
    if math.isinf(known.high):
        return '' if math.isinf(known.low) else f', {known.low:g} or more'
    if math.isinf(known.low):
        return f', {known.high:g} or less'
    return f' from {known.low:g} to {known.high:g}'
