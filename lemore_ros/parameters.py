"""The node's parameters: one dataclass from which all else about them is made.

Descriptors, declaration, validation and the commented YAML file come from the fields below.
"""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lemore_core.errors import LemoreError

MIN_SIDE = 32
MAX_SIDE = 8192
TYPE_NAMES = {str: 'string', bool: 'boolean', int: 'integer', float: 'number'}


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
        return not self.pattern or re.fullmatch(self.pattern, value) is not None


def _parameter(default: Any, description: str, **options: Any) -> Any:
    return field(default=default, metadata={'spec': Spec(description, **options)})


def _side(name: str) -> Any:
    return _parameter(
        0,
        f'{name} at which the network sees every image, in pixels. 0: follows the image. '
        'Set both sides or neither.',
        bounds=(0, MAX_SIDE),
        allowed=f'0 (automatic), or {MIN_SIDE} to {MAX_SIDE}',
    )


@dataclass(frozen=True)
class NodeParameters:
    """The values of all parameters, checked when they are put together."""

    model: str = _parameter(
        'tiny',
        'The network: a shipped size, or the path of a checkpoint.',
        allowed='nano, tiny, small, base, or a path that ends in .safetensors or .onnx',
        # what another suffix means, the checkpoint's reader explains better
        pattern=r'nano|tiny|small|base|.+\.\w+',
    )
    dataset: str = _parameter(
        '',
        'Names and colours of the classes: a built-in data set (which also chooses among the '
        'shipped networks), or the path of a YAML file with your own. Empty: camvid for a shipped '
        "network, the checkpoint's own classes for a path.",
        allowed='empty, the name of a built-in data set, or a path that ends in .yaml',
    )
    backend: str = _parameter(
        'auto',
        'What runs the network. auto takes the fastest one that is installed.',
        choices=('auto', 'onnxruntime', 'torch'),
    )
    device: str = _parameter(
        'auto',
        'Where the network runs. auto takes a GPU where the backend has one.',
        pattern=r'auto|cpu|cuda(:\d+)?',
        allowed='auto, cpu, cuda, or cuda:N',
    )
    network_height: int = _side('Height')
    network_width: int = _side('Width')
    overlay_alpha: float = _parameter(
        0.5,
        "Weight of the classes' colours in the overlay; 0.0 shows only the camera image.",
        bounds=(0.0, 1.0),
        live=True,
    )
    publish_labels: bool = _parameter(True, 'Publish ~/labels: the class of every pixel.')
    publish_color: bool = _parameter(True, "Publish ~/color: the labels in their classes' colours.")
    publish_overlay: bool = _parameter(
        True, 'Publish ~/overlay: the colours blended onto the camera image.'
    )
    publish_confidence: bool = _parameter(
        True, 'Publish ~/confidence: the probability of every label, 255 for certain.'
    )
    lazy: bool = _parameter(
        True, 'Render ~/color, ~/overlay and ~/confidence only while somebody subscribes.'
    )
    autostart: bool = _parameter(
        True, 'Configure and activate at start; false waits for a lifecycle manager.'
    )

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            _check(entry, getattr(self, entry.name))
        for name in ('network_height', 'network_width'):
            if 0 < getattr(self, name) < MIN_SIDE:
                raise ParameterError(_refusal(_field(name), getattr(self, name)))
        if (self.network_height == 0) != (self.network_width == 0):
            msg = (
                f'network_height is {self.network_height} and network_width is '
                f'{self.network_width}, allowed: both 0 (automatic), or both set'
            )
            raise ParameterError(msg)

    @property
    def network_size(self) -> tuple[int, int] | None:
        """(height, width) of the network's input, ``None`` to follow the image."""
        return (self.network_height, self.network_width) if self.network_height else None

    def changed(self, values: Mapping[str, Any]) -> NodeParameters:
        """Return a copy with other values; names that are not of these parameters are ignored.

        Raises:
            ParameterError: a value is not allowed, or its parameter is read-only.

        """
        mine = {name: value for name, value in values.items() if name in SPECS}
        for name in mine:
            if not SPECS[name].live:
                msg = f'{name} is read-only: it is read when the node starts'
                raise ParameterError(msg)
        return dataclasses.replace(self, **mine)


SPECS: Mapping[str, Spec] = {
    entry.name: entry.metadata['spec'] for entry in dataclasses.fields(NodeParameters)
}


def _field(name: str) -> dataclasses.Field[Any]:
    return next(entry for entry in dataclasses.fields(NodeParameters) if entry.name == name)


def parameter_type(name: str) -> type:
    """Return the Python type of a parameter: str, bool, int or float."""
    return type(_field(name).default)


def from_text(name: str, text: str) -> Any:
    """Return the value that ``text`` means for a parameter, as launch arguments give it.

    Raises:
        ParameterError: the text is no such value, or one that is not allowed.

    """
    entry, kind = _field(name), parameter_type(name)
    try:
        value = {'true': True, 'false': False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise ParameterError(_refusal(entry, text)) from error
    _check(entry, value)
    return value


def _check(entry: dataclasses.Field[Any], value: Any) -> None:
    # bool is an int to Python, hence no isinstance
    if type(value) is not type(entry.default) or not entry.metadata['spec'].admits(value):
        raise ParameterError(_refusal(entry, value))


def _refusal(entry: dataclasses.Field[Any], value: Any) -> str:
    kind = type(entry.default)
    shown = TYPE_NAMES.get(type(value), type(value).__name__)
    mismatch = '' if type(value) is kind else f' ({shown}, not {TYPE_NAMES[kind]})'
    return (
        f'{entry.name} is {value!r}{mismatch}, allowed: {entry.metadata["spec"].allowed_text(kind)}'
    )


def descriptor(name: str) -> Any:
    """Return the ``rcl_interfaces/ParameterDescriptor`` of a parameter."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    spec, kind = SPECS[name], parameter_type(name)
    result = ParameterDescriptor(
        name=name,
        description=spec.description,
        additional_constraints=f'allowed: {spec.allowed_text(kind)}',
        read_only=not spec.live,
    )
    if spec.bounds and kind is int:
        low, high = map(int, spec.bounds)
        result.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    elif spec.bounds:
        least, most = spec.bounds
        result.floating_point_range = [FloatingPointRange(from_value=least, to_value=most)]
    return result


def declare(node: Any) -> NodeParameters:
    """Declare every parameter on a node and return the values that it was started with.

    Raises:
        ParameterError: a value given at start is not allowed.

    """
    from rcl_interfaces.msg import ParameterDescriptor

    # declared for good only when all are checked: rclpy's own errors name neither the parameter,
    # nor the value, nor what is allowed in one sentence
    anything = ParameterDescriptor(dynamic_typing=True)
    values: dict[str, Any] = {}
    for entry in dataclasses.fields(NodeParameters):
        value = node.declare_parameter(entry.name, entry.default, anything).value
        node.undeclare_parameter(entry.name)
        # YAML's 1 is meant as 1.0 where a number is asked for
        is_whole = type(value) is int and type(entry.default) is float
        values[entry.name] = float(value) if is_whole else value
    checked = NodeParameters(**values)
    for name, value in values.items():
        node.declare_parameter(name, value, descriptor(name), ignore_override=True)
    return checked


def parameters_yaml() -> str:
    """Return a parameter file with every parameter, its default and what it means."""
    lines = ['# Every parameter of the segmentation node with its default.', '', '/**:']
    lines.append('  ros__parameters:')
    for entry in dataclasses.fields(NodeParameters):
        spec, kind = SPECS[entry.name], type(entry.default)
        when = 'may be set while the node runs' if spec.live else 'read at start'
        notes = f'{spec.description} Allowed: {spec.allowed_text(kind)}; {when}.'
        lines.append('')
        lines += [f'    # {line}' for line in textwrap.wrap(notes, 90)]
        lines.append(f'    {entry.name}: {json.dumps(entry.default)}')
    return '\n'.join(lines) + '\n'


def parameters_table() -> str:
    """Return the README's table of parameters, in Markdown."""
    lines = ['| parameter | default | allowed | | meaning |', '|---|---|---|---|---|']
    for entry in dataclasses.fields(NodeParameters):
        spec, kind = SPECS[entry.name], type(entry.default)
        cells = (
            f'`{entry.name}`',
            f'`{json.dumps(entry.default)}`',
            spec.allowed_text(kind),
            'live' if spec.live else 'at start',
            spec.description,
        )
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'
