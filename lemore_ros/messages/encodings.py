"""How the pixels of an image message lie in its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError

DEPTH = ('16UC1', '32FC1')
# outgoing: encoding -> (dtype, dimensions); 16UC1 is little-endian as is_bigendian says
OUTGOING = {'mono8': ('u1', 2), '16UC1': ('<u2', 2), 'rgb8': ('u1', 3)}


# encoding -> (what its pixels are to the core, bytes per pixel); OpenCV's type names say nothing of
# the order of the channels: drivers that use them mean OpenCV's own
VIEWED: Mapping[str, tuple[str, int]] = {
    'bgr8': ('bgr8', 3),
    'rgb8': ('rgb8', 3),
    'bgra8': ('bgra8', 4),
    'rgba8': ('rgba8', 4),
    'mono8': ('mono8', 1),
    '8UC1': ('mono8', 1),
    '8UC3': ('bgr8', 3),
    '8UC4': ('bgra8', 4),
}
# the colours of these come in half as many rows again, below the brightness
NV = ('nv12', 'nv21')
BAYER = ('bayer_rggb', 'bayer_bggr', 'bayer_gbrg', 'bayer_grbg')
# encoding -> (what it is converted to, bytes per pixel)
CONVERTED: Mapping[str, tuple[str, int]] = {
    **{f'{pattern}8': ('bgr8', 1) for pattern in BAYER},
    **{f'{pattern}16': ('bgr16', 2) for pattern in BAYER},
    **dict.fromkeys(('uyvy', 'yuv422', 'yuyv', 'yuv422_yuy2'), ('bgr8', 2)),
    **dict.fromkeys(NV, ('bgr8', 1)),
    'mono16': ('mono16', 2),
    'bgr16': ('bgr16', 6),
    'rgb16': ('rgb16', 6),
    'bgra16': ('bgra16', 8),
    'rgba16': ('rgba16', 8),
}


class ImageError(LemoreError):
    """An image message that contradicts itself or has an encoding that is not read."""


def encoding_of(message: Any) -> str:
    """Return what an image message says of its form, in whichever field its type has for it."""
    return str(message.encoding if hasattr(message, 'encoding') else message.format)


def rows_of(message: Any, bytes_per_pixel: int) -> NDArray[np.uint8]:
    """View the bytes of an image's rows without their padding, (rows, width * bytes_per_pixel).

    Raises:
        ImageError: the image is empty, or ``step`` or ``data`` are too short for its size.
    """
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        msg = f'the image has width {width} and height {height}, both must be at least 1'
        raise ImageError(msg)
    row = width * bytes_per_pixel
    if step < row:
        msg = f'step is {step} bytes, width {width} in {message.encoding} needs at least {row}'
        raise ImageError(msg)
    rows = height + height // 2 if message.encoding in NV else height
    data = np.frombuffer(message.data, np.uint8)
    if data.size < step * rows:
        msg = (
            f'data holds {data.size} bytes, step {step} times {rows} rows '
            f'needs at least {step * rows}'
        )
        raise ImageError(msg)
    return data[: step * rows].reshape(rows, step)[:, :row]


def require_outgoing(pixels: NDArray[Any], encoding: str) -> None:
    """Refuse pixels that are not what an outgoing encoding says.

    Raises:
        ImageError: with what they are, and what is allowed.
    """
    if encoding not in OUTGOING:
        msg = f'encoding {encoding!r} is not written, allowed: {", ".join(OUTGOING)}'
        raise ImageError(msg)
    dtype, dimensions = OUTGOING[encoding]
    if pixels.ndim != dimensions or pixels.dtype.kind + str(pixels.itemsize) != dtype[-2:]:
        msg = f'{pixels.dtype} pixels of shape {pixels.shape} are no {encoding} image'
        raise ImageError(msg)


def refuse_depth(encoding: str) -> None:
    """Refuse the encodings of depth images (REP 118) where an image is asked for.

    Raises:
        ImageError: what to do instead.
    """
    if encoding in DEPTH:
        msg = (
            f'encoding {encoding!r} is that of a depth image, it holds no image: '
            'remap image to the color camera, and depth to this topic'
        )
        raise ImageError(msg)
