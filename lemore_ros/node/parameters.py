"""The node's parameters: one dataclass from which all else about them is made.

Descriptors, declaration and validation come from the fields below, and the pages about them
(:mod:`lemore_ros.node.parameter_pages`).
"""

from __future__ import annotations

import dataclasses
import difflib
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lemore_core.common.errors import LemoreError
from lemore_core.common.limits import MAX_PIXELS, ROTATIONS
from lemore_core.common.validation import Entry, check_fields, entries, option
from lemore_core.refine import ALLOWED_SIZES
from lemore_ros.outputs import OUTPUTS
from lemore_ros.transports import AUTO, COMPRESSED_DEPTH, TRANSPORTS

MIN_SIDE = 32
SIDE = r'[1-9]\d{0,3}'
MAX_SIDE = 8192
MAX_RATE_HZ = 1000.0
MAX_TOLERANCE_MS = 1000.0
MAX_TIMEOUT_S = 3600.0
# stands for a camera's name where there are several
CAMERA = '{camera}'
# a name that may stand in a topic's, as the rules of ROS 2 topic names have it
CAMERA_NAME = r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*'


def _side(name: str) -> Any:
    return option(
        0,
        f'{name} at which the network sees every image, in pixels. 0: follows the image. '
        'Set both sides or neither.',
        low=0,
        high=MAX_SIDE,
        allowed=f'0 (automatic), or {MIN_SIDE} to {MAX_SIDE}',
    )


def _publish(content: str) -> Any:
    output = OUTPUTS[content]
    return option(True, f'Publish ~/{output.name}: {output.description}.', live=True)


class ParameterError(LemoreError):
    """A parameter with a value of the wrong type, out of range or not allowed."""


@dataclass(frozen=True)
class NodeParameters:
    """The values of all parameters, checked when they are put together."""

    model: str = option(
        'tiny',
        'The network: a shipped size, or the path of a checkpoint.',
        allowed='nano, tiny, small, base, or a path that ends in .safetensors or .onnx',
        # what another suffix means, the checkpoint's reader explains better
        pattern=r'nano|tiny|small|base|.+\.\w+',
    )
    dataset: str = option(
        '',
        'Names and colours of the classes: a built-in data set (which also chooses among the '
        'shipped networks), or the path of a YAML file with your own. Empty: camvid for a shipped '
        "network, the checkpoint's own classes for a path.",
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
        'Where the network runs. auto takes a GPU where the backend has one.',
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
        'Names of several cameras that share the network: of each, the topics are <name>/image and '
        '~/<name>/labels and so on. A list of one empty name: one camera, image and ~/labels.',
        pattern=rf'|{CAMERA_NAME}',
        allowed='names such as front, each once; or one empty name',
    )
    image_transport: str = option(
        'raw',
        'Form in which images come in. compressed: JPEG or PNG on image/compressed; ffmpeg, '
        'foxglove: H.264 or H.265 on image/ffmpeg (FFMPEGPacket), image/foxglove '
        '(CompressedVideo); auto: the first of these that somebody publishes.',
        choices=(*TRANSPORTS, AUTO),
    )
    depth_transport: str = option(
        'raw',
        'Form in which depth images come in, on depth or on depth/compressedDepth (PNG).',
        choices=('raw', COMPRESSED_DEPTH),
    )
    rotate: tuple[int, ...] = option(
        (0,),
        'Degrees clockwise that make the images upright where a camera is mounted otherwise. Only '
        'the network sees them so: what is published lies on the images as they come. One number '
        'for all cameras, or one for each.',
        choices=ROTATIONS,
        allowed='some of 0, 90, 180 and 270: one, or as many as camera_names',
    )
    frame_id: str = option(
        '',
        'Frame in the headers of what is published, with {camera} in place of the name where there '
        "are several cameras. Empty: that of the camera's images.",
    )
    output_size: str = option(
        'camera',
        "Size of what is published: the camera image's, the network's, or a fixed one such as "
        '640x480; labels by nearest neighbour.',
        pattern=rf'camera|network|{SIDE}x{SIDE}',
        allowed=ALLOWED_SIZES,
    )
    class_groups: str = option(
        '',
        'Publish groups of classes (traversable, obstacle, …) instead of classes. auto: the '
        "built-in groups of the network's data set; or the path of a YAML file with your own.",
        allowed='empty, auto, the name of built-in groups, or a path that ends in .yaml',
        live=True,
    )
    masks: tuple[str, ...] = option(
        ('',),
        'Names of which binary masks are published, on ~/mask/<name> with its camera_info: classes, '
        'or groups of classes (those of class_groups, else the built-in ones). A list of one empty '
        'name: none.',
        allowed='names of classes or groups; or one empty name',
        live=True,
    )
    min_confidence: float = option(
        0.0,
        'Labels of a lower probability become unlabelled.',
        low=0.0,
        high=1.0,
        live=True,
    )
    max_rate_hz: float = option(
        0.0,
        'Most images a second that are labelled, of each camera. 0.0: all.',
        low=0.0,
        high=MAX_RATE_HZ,
        live=True,
    )
    max_pixels: int = option(
        MAX_PIXELS,
        'Images of more pixels are refused before they are decoded.',
        low=1,
        high=10**9,
        live=True,
    )
    overlay_alpha: float = option(
        0.5,
        "Weight of the classes' colours in the overlay; 0.0 shows only the camera image.",
        low=0.0,
        high=1.0,
        live=True,
    )
    publish_labels: bool = _publish('labels')
    publish_confidence: bool = _publish('confidence')
    publish_color: bool = _publish('color')
    publish_overlay: bool = _publish('overlay')
    publish_camera_info: bool = _publish('camera_info')
    publish_points: bool = _publish('points')
    depth_tolerance_ms: float = option(
        20.0,
        'Most milliseconds between the stamps of an image and of the depth image it is paired '
        'with.',
        low=0.0,
        high=MAX_TOLERANCE_MS,
        live=True,
    )
    hang_timeout_s: float = option(
        30.0,
        'Seconds after which a network that does not answer ends the node, with exit code 71, so '
        'that its launcher starts it again. 0.0: never.',
        low=0.0,
        high=MAX_TIMEOUT_S,
    )
    executor: str = option(
        'single',
        "What calls the node's callbacks: rclpy's single-threaded executor, or its EventsExecutor, "
        'which costs the processor less where the distribution has it (Kilted, late Jazzy).',
        choices=('single', 'events'),
    )
    lazy: bool = option(
        True, 'Do only what somebody subscribes to: without a subscriber no image is even taken in.'
    )
    autostart: bool = option(
        True, 'Configure and activate at start; false waits for a lifecycle manager.'
    )

    def __post_init__(self) -> None:
        check_fields(self, ParameterError)
        for name in ('network_height', 'network_width'):
            if 0 < getattr(self, name) < MIN_SIDE:
                raise ParameterError(_refusal(name, getattr(self, name)))
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
        if self.frame_id and len(names) > 1 and CAMERA not in self.frame_id:
            msg = (
                f'frame_id is {self.frame_id!r}: with several cameras it must hold {CAMERA}, '
                f'such as {CAMERA}_optical_frame'
            )
            raise ParameterError(msg)

    @property
    def network_size(self) -> tuple[int, int] | None:
        """(height, width) of the network's input, ``None`` to follow the image."""
        return (self.network_height, self.network_width) if self.network_height else None

    def rotation_of(self, camera: str) -> int:
        """Return by how many degrees clockwise a camera's images must be rotated."""
        return self.rotate[self.camera_names.index(camera) if len(self.rotate) > 1 else 0]

    def frame_of(self, camera: str) -> str:
        """Return the frame of what is published of a camera, empty for that of its images."""
        return self.frame_id.replace(CAMERA, camera)

    def changed(self, values: Mapping[str, Any]) -> NodeParameters:
        """Return a copy with other values; names that are not of these parameters are ignored.

        Raises:
            ParameterError: a value is not allowed, or its parameter is read-only.
        """
        mine = {name: natural(name, value) for name, value in values.items() if name in PARAMETERS}
        for name in mine:
            if name not in LIVE:
                msg = f'{name} is read-only: it is read when the node starts'
                raise ParameterError(msg)
        return dataclasses.replace(self, **mine)


PARAMETERS: Mapping[str, Entry] = entries(NodeParameters)
DEFAULTS: Mapping[str, Any] = dataclasses.asdict(NodeParameters())
# these may be set while the node runs and act on the next image; the others are read at start
LIVE = {entry.name for entry in dataclasses.fields(NodeParameters) if entry.metadata.get('live')}


def natural(name: str, value: Any) -> Any:
    """Return a parameter's value as ROS holds it in the type that the dataclass holds.

    Lists become tuples; 90 is meant as [90] where a list is asked for, and 1 as 1.0 where a number
    is.
    """
    kind = type(DEFAULTS[name])
    if kind is tuple and type(value) is int:
        return (value,)
    if isinstance(value, (list, array)):
        return tuple(value)
    return float(value) if type(value) is int and kind is float else value


def _refusal(name: str, value: Any) -> str:
    return f'{name} is {value!r}, allowed: {PARAMETERS[name].allowed}'


def _read_bool(text: str) -> bool:
    return {'true': True, 'false': False}[text.lower()]


def _read_list(text: str, kind: Callable[[str], Any]) -> tuple[Any, ...]:
    return tuple(kind(entry.strip(' \'"')) for entry in text.strip(' []').split(','))


_READERS: Mapping[type, Callable[[str], Any]] = {bool: _read_bool}


def from_text(name: str, text: str) -> Any:
    """Return the value that ``text`` means for a parameter, as launch arguments give it.

    Raises:
        ParameterError: the text is no such value, or one that is not allowed.
    """
    default = DEFAULTS[name]
    kind = type(default)
    try:
        if isinstance(default, tuple):
            value = _read_list(text, type(default[0]))
        else:
            value = _READERS.get(kind, kind)(text)
    except (KeyError, ValueError) as error:
        raise ParameterError(_refusal(name, text)) from error
    if PARAMETERS[name].refusal(value):
        raise ParameterError(_refusal(name, value))
    return value


def descriptor(name: str) -> Any:
    """Return the ``rcl_interfaces/ParameterDescriptor`` of a parameter."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    entry, kind = PARAMETERS[name], type(DEFAULTS[name])
    result = ParameterDescriptor(
        name=name,
        description=entry.option.text,
        additional_constraints=f'allowed: {entry.allowed}',
        read_only=name not in LIVE,
    )
    low, high = entry.option.low, entry.option.high
    if kind is int:
        result.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    elif kind is float:
        result.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
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
    for name, default in DEFAULTS.items():
        value = node.declare_parameter(name, default, anything).value
        node.undeclare_parameter(name)
        values[name] = natural(name, value)
    checked = NodeParameters(**values)
    for name, value in values.items():
        node.declare_parameter(name, value, descriptor(name), ignore_override=True)
    return checked


def unknown(name: str) -> str:
    """Say that there is no such parameter, and which one may be meant."""
    close = difflib.get_close_matches(name, PARAMETERS, 1)
    return f'{name!r} is no parameter of this node{f", did you mean {close[0]}?" if close else ""}'


def unknown_overrides(node: Any) -> list[str]:
    """Say of each value that a node was started with if it belongs to no parameter of it."""
    # rclpy offers no other way to them
    given = node._parameter_overrides  # noqa: SLF001
    declared_later = ('qos_overrides.', 'diagnostic_updater.')
    return [
        unknown(name)
        for name in given
        if not node.has_parameter(name) and not name.startswith(declared_later)
    ]
