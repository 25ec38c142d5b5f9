"""Image messages to NumPy views and back, without cv_bridge and without a copy on the way in."""

from __future__ import annotations

import array
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lemore_core.errors import LemoreError


class Layout(NamedTuple):
    """How the pixels of a message's encoding lie, and the name that the core knows them by."""

    encoding: str
    channels: int


# OpenCV's type names say nothing of the channel order; drivers that use them mean OpenCV's own
LAYOUTS = {
    'bgr8': Layout('bgr8', 3),
    'rgb8': Layout('rgb8', 3),
    'bgra8': Layout('bgra8', 4),
    'rgba8': Layout('rgba8', 4),
    'mono8': Layout('mono8', 1),
    '8UC1': Layout('mono8', 1),
    '8UC3': Layout('bgr8', 3),
}
# outgoing: encoding -> (dtype, dimensions); 16UC1 is little-endian as is_bigendian says
OUTGOING = {'mono8': ('u1', 2), '16UC1': ('<u2', 2), 'rgb8': ('u1', 3)}


class ImageError(LemoreError):
    """An image message that contradicts itself or has an encoding that is not read."""


@dataclass(frozen=True)
class Frame:
    """One picture of a camera.

    ``pixels`` is a uint8 view into the message's own memory: (H, W, 3) for rgb8 and bgr8,
    (H, W, 4) for rgba8 and bgra8, (H, W) for mono8; rows may be padded. ``header`` is the
    message's own ``std_msgs/Header``.
    """

    pixels: NDArray[np.uint8]
    encoding: str
    header: Any


def to_frame(message: Any) -> Frame:
    """View a ``sensor_msgs/Image`` (rclpy's, or any object with its fields) as a frame.

    Raises:
        ImageError: the image is empty, its encoding is not read, or ``step`` or ``data`` are too
            short for its size.

    """
    layout = LAYOUTS.get(message.encoding)
    if layout is None:
        msg = f'encoding {message.encoding!r} is not read, allowed: {", ".join(LAYOUTS)}'
        raise ImageError(msg)
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        msg = f'the image has width {width} and height {height}, both must be at least 1'
        raise ImageError(msg)
    row = width * layout.channels
    if step < row:
        msg = f'step is {step} bytes, width {width} in {message.encoding} needs at least {row}'
        raise ImageError(msg)
    data = np.frombuffer(message.data, np.uint8)
    if data.size < step * height:
        msg = (
            f'data holds {data.size} bytes, step {step} times height {height} '
            f'needs at least {step * height}'
        )
        raise ImageError(msg)
    rows = data[: step * height].reshape(height, step)[:, :row]
    shape = (height, width) if layout.channels == 1 else (height, width, layout.channels)
    return Frame(rows.reshape(shape), layout.encoding, message.header)


def to_image_message(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], encoding: str, header: Any
) -> Any:
    """Return a ``sensor_msgs/Image`` with unpadded rows and ``header`` itself.

    ``pixels`` is (H, W) uint8 for mono8, (H, W) uint16 for 16UC1, (H, W, 3) uint8 for rgb8.

    Raises:
        ImageError: ``pixels`` is not what ``encoding`` says, or the encoding is another.

    """
    # the bag tools read frames with this module where no ROS is installed
    from sensor_msgs.msg import Image

    if encoding not in OUTGOING:
        msg = f'encoding {encoding!r} is not written, allowed: {", ".join(OUTGOING)}'
        raise ImageError(msg)
    dtype, dimensions = OUTGOING[encoding]
    if pixels.ndim != dimensions or pixels.dtype.kind + str(pixels.itemsize) != dtype[-2:]:
        msg = f'{pixels.dtype} pixels of shape {pixels.shape} are no {encoding} image'
        raise ImageError(msg)
    raw = np.ascontiguousarray(pixels, dtype)
    message = Image()
    message.header = header
    message.height, message.width = raw.shape[:2]
    message.encoding = encoding
    message.is_bigendian = 0
    message.step = raw.strides[0]
    # an array is taken as it is; bytes and lists are checked value by value
    data = array.array('B')
    data.frombytes(raw.view(np.uint8).data.cast('B'))
    message.data = data
    return message
