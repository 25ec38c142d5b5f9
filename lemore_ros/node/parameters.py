"""The node's parameters: one dataclass from which all else about them is made.

Descriptors, declaration, validation and the commented YAML file come from the fields below.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lemore_core.refine import ALLOWED_SIZES
from lemore_ros.node.parameter_spec import ParameterError, Spec, check, natural, parameter, refusal
from lemore_ros.outputs import OUTPUTS

MIN_SIDE = 32
SIDE = r'[1-9]\d{0,3}'
MAX_SIDE = 8192
MAX_RATE_HZ = 1000.0
MAX_TOLERANCE_MS = 1000.0
# a name that may stand in a topic's, as the rules of ROS 2 topic names have it
CAMERA_NAME = r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*'


def _side(name: str) -> Any:
    return parameter(
        0,
        f'{name} at which the network sees every image, in pixels. 0: follows the image. '
        'Set both sides or neither.',
        bounds=(0, MAX_SIDE),
        allowed=f'0 (automatic), or {MIN_SIDE} to {MAX_SIDE}',
    )


def _publish(content: str) -> Any:
    output = OUTPUTS[content]
    return parameter(True, f'Publish ~/{output.name}: {output.description}.', live=True)


@dataclass(frozen=True)
class NodeParameters:
    """The values of all parameters, checked when they are put together."""

    model: str = parameter(
        'tiny',
        'The network: a shipped size, or the path of a checkpoint.',
        allowed='nano, tiny, small, base, or a path that ends in .safetensors or .onnx',
        # what another suffix means, the checkpoint's reader explains better
        pattern=r'nano|tiny|small|base|.+\.\w+',
    )
    dataset: str = parameter(
        '',
        'Names and colours of the classes: a built-in data set (which also chooses among the '
        'shipped networks), or the path of a YAML file with your own. Empty: camvid for a shipped '
        "network, the checkpoint's own classes for a path.",
        allowed='empty, the name of a built-in data set, or a path that ends in .yaml',
    )
    backend: str = parameter(
        'auto',
        'What runs the network. auto serves at once with the fastest one that is installed; on a '
        'GPU with TensorRT, it goes over to a TensorRT engine once another process has built it. '
        'tensorrt builds the engine before anything is labelled, which may take minutes: prefer '
        'auto, or run `lemore engine build` ahead.',
        choices=('auto', 'onnxruntime', 'torch', 'tensorrt'),
    )
    device: str = parameter(
        'auto',
        'Where the network runs. auto takes a GPU where the backend has one.',
        pattern=r'auto|cpu|cuda(:\d+)?',
        allowed='auto, cpu, cuda, or cuda:N',
    )
    precision: str = parameter(
        'auto',
        'Numbers the network computes with. auto takes fp16 on a GPU and fp32 on a CPU, and an '
        '.onnx file as it was exported.',
        choices=('auto', 'fp32', 'fp16'),
    )
    engine_cache_dir: str = parameter(
        '',
        "Folder in which TensorRT engines are kept. Empty: lemore/engines in the user's cache "
        'folder.',
        allowed='empty, or the path of a folder',
    )
    network_height: int = _side('Height')
    network_width: int = _side('Width')
    camera_names: tuple[str, ...] = parameter(
        ('',),
        'Names of several cameras that share the network: of each, the topics are <name>/image and '
        '~/<name>/labels and so on. A list of one empty name: one camera, image and ~/labels.',
        pattern=rf'|{CAMERA_NAME}',
        allowed='names such as front, each once; or one empty name',
    )
    image_transport: str = parameter(
        'raw',
        'Form in which images come in. compressed: JPEG or PNG on image/compressed.',
        choices=('raw', 'compressed'),
    )
    output_size: str = parameter(
        'camera',
        "Size of what is published: the camera image's, the network's, or a fixed one such as "
        '640x480; labels by nearest neighbour.',
        pattern=rf'camera|network|{SIDE}x{SIDE}',
        allowed=ALLOWED_SIZES,
    )
    class_groups: str = parameter(
        '',
        'Publish groups of classes (traversable, obstacle, …) instead of classes. auto: the '
        "built-in groups of the network's data set; or the path of a YAML file with your own.",
        allowed='empty, auto, the name of built-in groups, or a path that ends in .yaml',
        live=True,
    )
    min_confidence: float = parameter(
        0.0,
        'Labels of a lower probability become unlabelled.',
        bounds=(0.0, 1.0),
        live=True,
    )
    max_rate_hz: float = parameter(
        0.0,
        'Most images a second that are labelled, of each camera. 0.0: all.',
        bounds=(0.0, MAX_RATE_HZ),
        live=True,
    )
    overlay_alpha: float = parameter(
        0.5,
        "Weight of the classes' colours in the overlay; 0.0 shows only the camera image.",
        bounds=(0.0, 1.0),
        live=True,
    )
    publish_labels: bool = _publish('labels')
    publish_confidence: bool = _publish('confidence')
    publish_color: bool = _publish('color')
    publish_overlay: bool = _publish('overlay')
    publish_camera_info: bool = _publish('camera_info')
    publish_points: bool = _publish('points')
    depth_tolerance_ms: float = parameter(
        20.0,
        'Most milliseconds between the stamps of an image and of the depth image it is paired '
        'with.',
        bounds=(0.0, MAX_TOLERANCE_MS),
        live=True,
    )
    lazy: bool = parameter(
        True, 'Do only what somebody subscribes to: without a subscriber no image is even taken in.'
    )
    autostart: bool = parameter(
        True, 'Configure and activate at start; false waits for a lifecycle manager.'
    )

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            check(entry, getattr(self, entry.name))
        for name in ('network_height', 'network_width'):
            if 0 < getattr(self, name) < MIN_SIDE:
                raise ParameterError(refusal(_field(name), getattr(self, name)))
        if (self.network_height == 0) != (self.network_width == 0):
            msg = (
                f'network_height is {self.network_height} and network_width is '
                f'{self.network_width}, allowed: both 0 (automatic), or both set'
            )
            raise ParameterError(msg)
        names = self.camera_names
        if len(set(names)) != len(names) or ('' in names and len(names) > 1) or not names:
            raise ParameterError(refusal(_field('camera_names'), names))

    @property
    def network_size(self) -> tuple[int, int] | None:
        """(height, width) of the network's input, ``None`` to follow the image."""
        return (self.network_height, self.network_width) if self.network_height else None

    @property
    def engine_cache(self) -> Path | None:
        """The folder of engines, ``None`` for the user's."""
        return Path(self.engine_cache_dir).expanduser() if self.engine_cache_dir else None

    def changed(self, values: Mapping[str, Any]) -> NodeParameters:
        """Return a copy with other values; names that are not of these parameters are ignored.

        Raises:
            ParameterError: a value is not allowed, or its parameter is read-only.

        """
        mine = {name: natural(value) for name, value in values.items() if name in SPECS}
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
    """Return the Python type of a parameter: str, bool, int, float, or tuple for strings."""
    return type(_field(name).default)


def _read_bool(text: str) -> bool:
    return {'true': True, 'false': False}[text.lower()]


def _read_list(text: str) -> tuple[str, ...]:
    return tuple(entry.strip(' \'"') for entry in text.strip(' []').split(','))


_READERS: Mapping[type, Callable[[str], Any]] = {bool: _read_bool, tuple: _read_list}


def from_text(name: str, text: str) -> Any:
    """Return the value that ``text`` means for a parameter, as launch arguments give it.

    Raises:
        ParameterError: the text is no such value, or one that is not allowed.

    """
    entry, kind = _field(name), parameter_type(name)
    try:
        value = _READERS.get(kind, kind)(text)
    except (KeyError, ValueError) as error:
        raise ParameterError(refusal(entry, text)) from error
    check(entry, value)
    return value


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
        values[entry.name] = float(value) if is_whole else natural(value)
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
