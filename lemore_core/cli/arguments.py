"""Declare and read the arguments that several subcommands share."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from lemore_core.common.errors import LemoreError
from lemore_core.common.limits import BIT_DEPTHS, MAX_PIXELS

if TYPE_CHECKING:
    from lemore_core.segmenter import Segmenter

T = TypeVar('T')


def listed(read: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Return a reader of comma-separated values."""

    def read_all(text: str) -> list[T]:
        parts = [part.strip() for part in text.split(',')]
        if not all(parts):
            msg = f'{text!r} has an empty part between its commas'
            raise argparse.ArgumentTypeError(msg)
        return [read(part) for part in parts]

    return read_all


def image_size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT as (height, width)."""
    width, _, height = text.partition('x')
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        msg = f'{text!r} is no size such as 640x480'
        raise argparse.ArgumentTypeError(msg)
    return int(height), int(width)


def count(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or len(text) > 18 or not int(text):
        msg = f'{text!r} is no whole number of at least 1'
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    return _real(text, lambda value: 0 <= value <= 1, 'number from 0 to 1')


def positive(text: str) -> float:
    """Read a finite number above 0."""
    return _real(text, lambda value: 0 < value < float('inf'), 'number above 0')


def seconds(text: str) -> float:
    """Read a finite number of 0 or more."""
    return _real(text, lambda value: 0 <= value < float('inf'), 'number of 0 or more')


def duration(text: str) -> float:
    """Read a time such as 90s, 30m or 2h as seconds."""
    units = {'s': 1, 'm': 60, 'h': 3600}
    if text[-1:] not in units:
        msg = f'{text!r} is no time such as 90s, 30m or 2h'
        raise argparse.ArgumentTypeError(msg)
    return positive(text[:-1]) * units[text[-1]]


def _real(text: str, admits: Callable[[float], bool], what: str) -> float:
    with suppress(ValueError):
        value = float(text)
        if admits(value):
            return value
    msg = f'{text!r} is no {what}'
    raise argparse.ArgumentTypeError(msg)


SHARED: Mapping[str, Mapping[str, Any]] = {
    'model': {'default': 'tiny', 'help': 'nano, tiny, small, base, or the path of a checkpoint'},
    'dataset': {'default': '', 'help': 'name or YAML file of the class table'},
    'height': {'type': int, 'help': "the network's input height in pixels"},
    'width': {'type': int, 'help': "the network's input width in pixels"},
    'backend': {'default': 'auto', 'help': 'auto, onnxruntime, torch or tensorrt'},
    'device': {'default': 'auto', 'help': 'auto, cpu, cuda or cuda:N'},
    'precision': {
        'default': 'auto',
        'help': 'fp16, fp32, or auto: fp16 on a GPU, fp32 on a CPU, an ONNX file as it was exported',
    },
    'json': {'action': 'store_true', 'help': 'print JSON'},
    'bit-depth': {
        'type': int,
        'choices': BIT_DEPTHS,
        'default': 0,
        'help': 'bits that 16-bit images fill: 8 to 16, or 0 to find them (0)',
    },
    'max-pixels': {
        'type': count,
        'default': MAX_PIXELS,
        'metavar': 'N',
        'help': f'refuse images of more pixels before they are decoded ({MAX_PIXELS})',
    },
}
# passed on to SegmenterOptions by their names
OPTIONS = ('model', 'dataset', 'backend', 'device', 'precision')
SEGMENTER = (*OPTIONS, 'height', 'width')


def declare(parser: Any, *names: str) -> None:
    """Declare arguments of ``SHARED`` on a parser or group."""
    for name in names:
        parser.add_argument(f'--{name}', **SHARED[name])


def requested_size(arguments: argparse.Namespace) -> tuple[int, int] | None:
    """Return (height, width), or None where neither was given."""
    height, width = arguments.height, arguments.width
    if (height is None) != (width is None):
        msg = f'--height is {height} and --width is {width}: give both or neither'
        raise LemoreError(msg)
    return None if height is None else (height, width)


def load_segmenter(arguments: argparse.Namespace) -> Segmenter:
    """Load the Segmenter of the arguments ``SEGMENTER``."""
    from lemore_core.segmenter_options import SegmenterOptions

    values = {name: getattr(arguments, name) for name in OPTIONS}
    return SegmenterOptions(size=requested_size(arguments), **values).load()


def print_json(values: Any) -> None:
    """Print plain values as one line of JSON."""
    print(json.dumps(values))


def image_bar(images: Iterable[T], name: str, *counts: int | None) -> Iterable[T]:
    """Yield ``images`` with a progress bar; the total is the least of the known ``counts``."""
    from tqdm import tqdm

    total = min((number for number in counts if number is not None), default=None)
    bar: Iterable[T] = tqdm(images, desc=name, total=total, unit='image', disable=None)
    return bar
