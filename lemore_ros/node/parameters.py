"""Parameters of the node: descriptors, validation and pages follow from one dataclass.

``python -m lemore_ros.node.parameters`` writes the pages into the source tree.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import textwrap
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lemore_core.common.errors import LemoreError, shown
from lemore_core.common.files import at_home
from lemore_core.common.limits import BIT_DEPTHS, MAX_PIXELS, ROTATIONS
from lemore_core.common.validation import Entry, check_fields, entries, option
from lemore_core.common.yaml_file import YAML_SUFFIXES
from lemore_core.segmentation import ALLOWED_SIZES
from lemore_core.taxonomy import BUILT_IN_GROUPS, Taxonomy, load_groups
from lemore_ros.outputs import AUTO, TRANSPORTS

MIN_SIDE, MAX_SIDE = 32, 8192
MOST_ENTRIES = 256  # of a list
MAX_NAME = 64  # of which a similar name is looked for
# part of a topic name, by the rules of ROS 2
CAMERA_NAME = r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*'
PAGE = """\
# Parameters of the segmentation node

Written by `python -m lemore_ros.node.parameters`, from the descriptors that
`ros2 param describe /lemore_segmentation NAME` shows. `config/segmentation.yaml` lists the same with
their defaults: copy it, and give the copy as launch argument `params_file`. *Live* ones may change
while the node runs, the others are read at start.
"""


def _side(name: str) -> Any:
    return option(
        0,
        f'{name} at which the network sees every image, in pixels. 0: follows the image. '
        'Set both sides or neither.',
        low=0,
        high=MAX_SIDE,
        choices=(0, *range(MIN_SIDE, MAX_SIDE + 1)),
        allowed=f'0 (automatic), or {MIN_SIDE} to {MAX_SIDE}',
    )


class ParameterError(LemoreError):
    """A parameter value of the wrong type, out of range or not allowed."""


@dataclass(frozen=True)
class NodeParameters:
    """Hold the values of all parameters, checked at construction."""

    model: str = option(
        'tiny',
        'The network: a shipped size, or the path of a checkpoint.',
        allowed='nano, tiny, small, base, or a path that ends in .safetensors or .onnx',
        # the reader of checkpoints explains other suffixes better
        pattern=r'nano|tiny|small|base|.+\.\w+',
    )
    dataset: str = option(
        '',
        'Names and colours of the classes: a built-in data set (which also chooses among the '
        'shipped networks), or the path of a YAML file with your own. Empty: the classes of the '
        'checkpoint, which for a shipped size is cityscapes where that is shipped, else camvid.',
        allowed='empty, the name of a built-in data set, or a path that ends in .yaml',
    )
    backend: str = option(
        'auto',
        'What runs the network. auto serves at once with the fastest one that is installed; on a '
        'GPU with TensorRT, it goes over to a TensorRT engine once another process has built it. '
        'tensorrt builds the engine before anything is labelled, which may take minutes: prefer '
        'auto, or run `lemore engine build` ahead.',
        choices=('auto', 'onnxruntime', 'torch', 'tensorrt'),
    )
    device: str = option(
        'auto',
        'Where the network runs. auto uses a GPU where the backend has one.',
        pattern=r'auto|cpu|cuda(:\d+)?',
        allowed='auto, cpu, cuda, or cuda:N',
    )
    precision: str = option(
        'auto',
        'Numbers the network computes with. auto takes fp16 on a GPU and fp32 on a CPU, and an '
        '.onnx file as it was exported.',
        choices=('auto', 'fp32', 'fp16'),
    )
    wait_for_engine: bool = option(
        False,
        'With backend auto, build a missing TensorRT engine before the first image, which takes '
        'minutes. Otherwise PyTorch serves, and the engine is ready at the next start.',
    )
    network_height: int = _side('Height')
    network_width: int = _side('Width')
    camera_names: tuple[str, ...] = option(
        ('',),
        'Names of cameras that share the network, with topics <name>/image, ~/<name>/labels and so '
        'on. A list of one empty name: one camera, image and ~/labels.',
        pattern=rf'|{CAMERA_NAME}',
        allowed="a list of names such as [front, rear], each once; or ['']",
    )
    image_transport: str = option(
        'raw',
        'Form in which images come in. compressed: JPEG or PNG on image/compressed; ffmpeg, '
        'foxglove: H.264 or H.265 on image/ffmpeg (FFMPEGPacket), image/foxglove '
        '(CompressedVideo); auto: the first of these that somebody publishes.',
        choices=(*TRANSPORTS, AUTO),
    )
    rotate: tuple[int, ...] = option(
        (0,),
        'Degrees clockwise that make the images upright where a camera is mounted otherwise. Only '
        'the network sees them so: what is published lies on the images as they come. One number '
        'for all cameras, or one for each.',
        choices=ROTATIONS,
        allowed='some of 0, 90, 180 and 270: one, or as many as camera_names',
    )
    output_size: str = option(
        'camera',
        "Size of what is published: the camera image's, the network's, or a fixed one such as "
        '640x480; labels by nearest neighbour.',
        pattern=r'camera|network|[1-9]\d{0,3}x[1-9]\d{0,3}',
        allowed=ALLOWED_SIZES,
    )
    class_groups: str = option(
        '',
        'Publish groups of classes (traversable, obstacle, …) instead of classes. auto: the '
        "built-in groups of the network's data set; or the path of a YAML file with your own, while the "
        'node runs only the one of the start or another in its folder.',
        allowed='empty, auto, the name of built-in groups, or a path that ends in .yaml',
        live=True,
    )
    masks: tuple[str, ...] = option(
        ('',),
        'Names of which binary masks are published, on ~/mask/<name> with its camera_info: classes, '
        'or groups of classes (those of class_groups, else the built-in ones). A list of one empty '
        'name: none.',
        allowed="a list of names of classes or groups; or ['']",
        live=True,
    )
    min_confidence: float = option(
        0.0, 'Labels of a lower probability become unlabelled.', low=0.0, high=1.0, live=True
    )
    max_rate_hz: float = option(
        0.0,
        'Most images a second that are labelled, of each camera. 0.0: all.',
        low=0.0,
        high=1000.0,
        live=True,
    )
    max_pixels: int = option(
        MAX_PIXELS,
        'Images of more pixels are refused before they are decoded.',
        low=1,
        high=10**9,
        live=True,
    )
    bit_depth: int = option(
        0,
        'Bits that the values of 16-bit images fill: many cameras use the lower 10, 12 or 14. 0: the '
        'most that a camera has filled so far, which is logged.',
        low=0,
        high=16,
        choices=BIT_DEPTHS,
        allowed='0, or 8 to 16',
        live=True,
    )
    overlay_alpha: float = option(
        0.5,
        "Weight of the classes' colours in the overlay; 0.0 shows only the camera image.",
        low=0.0,
        high=1.0,
        live=True,
    )
    depth_tolerance_ms: float = option(
        20.0,
        'Most milliseconds between the stamps of an image and of the depth image it is paired '
        'with.',
        low=0.0,
        high=1000.0,
        live=True,
    )
    hang_timeout_s: float = option(
        30.0,
        'Seconds after which a network that does not answer ends the node, with exit code 71, so '
        'that its launcher starts it again. 0.0: never.',
        low=0.0,
        high=3600.0,
    )
    executor: str = option(
        'single',
        "What calls the node's callbacks: rclpy's single-threaded executor, or its EventsExecutor, "
        'which costs the processor less where the distribution has it (Kilted, late Jazzy).',
        choices=('single', 'events'),
    )
    autostart: bool = option(
        True, 'Configure and activate at start; false waits for a lifecycle manager.'
    )

    def __post_init__(self) -> None:
        for name, value in vars(self).items():  # before each entry is checked
            if isinstance(value, tuple) and len(value) > MOST_ENTRIES:
                msg = f'{name} has {len(value)} entries, allowed: up to {MOST_ENTRIES}'
                raise ParameterError(msg)
        check_fields(self, ParameterError)
        if (self.network_height == 0) != (self.network_width == 0):
            msg = (
                f'network_height is {self.network_height} and network_width is '
                f'{self.network_width}, allowed: both 0 (automatic), or both set'
            )
            raise ParameterError(msg)
        names = self.camera_names
        if len(set(names)) != len(names) or ('' in names and len(names) > 1) or not names:
            raise ParameterError(_refusal('camera_names', names))
        if len(self.rotate) not in {1, len(names)}:
            raise ParameterError(_refusal('rotate', self.rotate))

    @property
    def network_size(self) -> tuple[int, int] | None:
        """(height, width) of the network's input, ``None`` to follow the image."""
        return (self.network_height, self.network_width) if self.network_height else None

    def rotation_of(self, camera: str) -> int:
        """Return the clockwise rotation of a camera's images in degrees."""
        return self.rotate[self.camera_names.index(camera) if len(self.rotate) > 1 else 0]

    def changed(self, values: Mapping[str, Any]) -> NodeParameters:
        """Return a copy with other values; unknown names are ignored."""
        mine = {name: natural(name, value) for name, value in values.items() if name in PARAMETERS}
        for name in mine:
            if name not in LIVE:
                msg = f'{name} is read-only: it is read when the node starts'
                raise ParameterError(msg)
        return dataclasses.replace(self, **mine)


PARAMETERS: Mapping[str, Entry] = entries(NodeParameters)
DEFAULTS: Mapping[str, Any] = dataclasses.asdict(NodeParameters())
# may be set while the node runs and act on the next image; the others are read at start
LIVE = {name for name, entry in entries(NodeParameters).items() if entry.live}


def natural(name: str, value: Any) -> Any:
    """Convert a parameter's ROS value to the field's type: lists to tuples, front to (front,), 1 to 1.0."""
    kind = type(DEFAULTS[name])
    if kind is tuple and value in (None, [], ()):  # rcl makes None of an empty list
        return DEFAULTS[name]
    if kind is tuple and type(value) in {int, str}:
        return (value,)
    if isinstance(value, (list, array)):
        return tuple(value)
    return float(value) if type(value) is int and kind is float else value


def _refusal(name: str, value: Any) -> str:
    return f'{name} is {shown(value)}, allowed: {PARAMETERS[name].allowed}'


def from_text(name: str, text: str) -> Any:
    """Return the value of a text or list parameter from the text of a launch argument."""
    value: Any = text
    if isinstance(DEFAULTS[name], tuple):
        value = tuple(entry.strip(' \'"') for entry in text.strip(' []').split(','))
    if refusal := PARAMETERS[name].refusal(value):
        raise ParameterError(refusal)
    return value


def descriptor(name: str) -> Any:
    """Return the ``rcl_interfaces/ParameterDescriptor`` of a parameter."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    entry, kind = PARAMETERS[name], type(DEFAULTS[name])
    result = ParameterDescriptor(
        name=name,
        description=entry.text,
        additional_constraints=f'allowed: {entry.allowed}',
        read_only=name not in LIVE,
    )
    low, high = entry.low, entry.high
    if kind is int:
        result.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    elif kind is float:
        result.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return result


def declare(node: Any) -> NodeParameters:
    """Declare every parameter on a node and return its start values."""
    # checked before they are declared: rclpy's own errors do not name parameter, value and allowed
    # values in one sentence
    given = start_values(node)
    values = {name: natural(name, given[name].value) for name in DEFAULTS if name in given}
    checked = NodeParameters(**values)
    for name in DEFAULTS:
        value = getattr(checked, name)
        node.declare_parameter(name, value, descriptor(name), ignore_override=True)
    return checked


def check_groups(source: str, at_start: str, classes: Taxonomy | None) -> None:
    """Refuse a file of groups that was named over the network, unless the operator's choice covers it.

    Allowed is what ``class_groups`` was ``at_start``, and files in its folder. What a file holds is
    not told, nor whether there is one.
    """
    path, former = map(at_home, (source, at_start))
    if path.suffix not in YAML_SUFFIXES:
        return
    folder = former.parent.resolve() if former.suffix in YAML_SUFFIXES else None
    if source != at_start and (folder is None or not path.resolve().is_relative_to(folder)):
        allowed = ', '.join(['empty', 'auto', *BUILT_IN_GROUPS])
        files = f', files in {folder}' if folder else ', or the file that it was at start'
        msg = f'class_groups is {shown(source)}, allowed while the node runs: {allowed}{files}'
        raise ParameterError(msg)
    if classes is None:
        return
    try:
        load_groups(source, classes)
    except LemoreError:
        msg = (
            f'class_groups is {shown(source)}, which is no file of groups of {classes.name!r}: start '
            'the node with it to see why'
        )
        raise ParameterError(msg) from None


def unknown(name: str) -> str:
    """Return an error for an unknown parameter, with the most similar known one."""
    close = difflib.get_close_matches(name[:MAX_NAME], PARAMETERS, 1)
    return f'{shown(name)} is no parameter of this node{f", did you mean {close[0]}?" if close else ""}'


def start_values(node: Any) -> Any:
    """Return the parameters that a node was started with, by name, also those it does not have."""
    return node._parameter_overrides  # noqa: SLF001 - rclpy offers no other access


def parameters_yaml() -> str:
    """Return a parameter file with the default and meaning of every parameter."""
    lines = ['# Every parameter of the segmentation node with its default.', '', '/**:']
    lines.append('  ros__parameters:')
    for name, entry in PARAMETERS.items():
        when = 'may be set while the node runs' if name in LIVE else 'read at start'
        notes = f'{entry.text} Allowed: {entry.allowed}; {when}.'
        lines += ['', *(f'    # {line}' for line in textwrap.wrap(notes, 90))]
        lines.append(f'    {name}: {json.dumps(DEFAULTS[name])}')
    return '\n'.join(lines) + '\n'


def parameters_page() -> str:
    """Return ``docs/parameters.md``: a Markdown table of the parameters."""
    lines = [PAGE, '| parameter | default | allowed | | meaning |', '|---|---|---|---|---|']
    for name, entry in PARAMETERS.items():
        default, when = json.dumps(DEFAULTS[name]), 'live' if name in LIVE else 'at start'
        lines.append(f'| `{name}` | `{default}` | {entry.allowed} | {when} | {entry.text} |')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    root = Path(__file__).parents[2]
    (root / 'config' / 'segmentation.yaml').write_text(parameters_yaml(), encoding='utf-8')
    (root / 'docs' / 'parameters.md').write_text(parameters_page(), encoding='utf-8')
