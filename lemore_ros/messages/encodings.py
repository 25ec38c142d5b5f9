"""How the pixels of an image message lie in its bytes, and how they become 8-bit pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.errors import LemoreError

Pixels8 = NDArray[np.uint8]
DEPTH = ('16UC1', '32FC1')
# outgoing: encoding -> (dtype, dimensions); 16UC1 is little-endian as is_bigendian says
OUTGOING = {'mono8': ('u1', 2), '16UC1': ('<u2', 2), 'rgb8': ('u1', 3)}


class ImageError(LemoreError):
    """An image message that contradicts itself or has an encoding that is not read."""


class Layout(NamedTuple):
    """How the pixels of an encoding lie, and the name that the core knows them by.

    ``color_code`` is OpenCV's conversion to bgr8, where one is needed. ``is_subsampled``: two
    neighbours in a row share their colour; ``has_chroma_rows``: two rows share it as well, and it
    comes in half as many rows again below the height's.
    """

    read_as: str
    bytes_per_pixel: int
    color_code: int | None = None
    is_subsampled: bool = False
    has_chroma_rows: bool = False


def _yuv422(code: int) -> Layout:
    return Layout('bgr8', 2, code, is_subsampled=True)


def _yuv420(code: int) -> Layout:
    return Layout('bgr8', 1, code, is_subsampled=True, has_chroma_rows=True)


# OpenCV's type names say nothing of the channel order; drivers that use them mean OpenCV's own
VIEWED: Mapping[str, Layout] = {
    'bgr8': Layout('bgr8', 3),
    'rgb8': Layout('rgb8', 3),
    'bgra8': Layout('bgra8', 4),
    'rgba8': Layout('rgba8', 4),
    'mono8': Layout('mono8', 1),
    '8UC1': Layout('mono8', 1),
    '8UC3': Layout('bgr8', 3),
}
# of 16 bits the upper 8 are taken
NARROWED: Mapping[str, Layout] = {
    'mono16': Layout('mono8', 2),
    'bgr16': Layout('bgr8', 6),
    'rgb16': Layout('rgb8', 6),
}
CONVERTED: Mapping[str, Layout] = {
    'bayer_rggb8': Layout('bgr8', 1, cv2.COLOR_BayerRGGB2BGR),
    'bayer_bggr8': Layout('bgr8', 1, cv2.COLOR_BayerBGGR2BGR),
    'bayer_gbrg8': Layout('bgr8', 1, cv2.COLOR_BayerGBRG2BGR),
    'bayer_grbg8': Layout('bgr8', 1, cv2.COLOR_BayerGRBG2BGR),
    'uyvy': _yuv422(cv2.COLOR_YUV2BGR_UYVY),
    'yuv422': _yuv422(cv2.COLOR_YUV2BGR_UYVY),
    'yuyv': _yuv422(cv2.COLOR_YUV2BGR_YUY2),
    'yuv422_yuy2': _yuv422(cv2.COLOR_YUV2BGR_YUY2),
    'nv12': _yuv420(cv2.COLOR_YUV2BGR_NV12),
    'nv21': _yuv420(cv2.COLOR_YUV2BGR_NV21),
}
LAYOUTS = {**VIEWED, **NARROWED, **CONVERTED}


def to_pixels(message: Any) -> tuple[Pixels8, str]:
    """Return the pixels of a ``sensor_msgs/Image`` and the encoding that they have then.

    An encoding of 8-bit channels is a view into the message, its rows may be padded; the others
    are converted: Bayer mosaics and YUV (BT.601) to bgr8, channels of 16 bits to their upper 8.

    Raises:
        ImageError: as :func:`lemore_ros.messages.images.read_image` says.

    """
    layout = _layout(message.encoding)
    rows = rows_of(message, layout.bytes_per_pixel, has_chroma_rows=layout.has_chroma_rows)
    if message.encoding in NARROWED:
        wide = rows.reshape(len(rows), message.width, -1, 2)
        narrow = np.ascontiguousarray(wide[..., 0 if message.is_bigendian else 1])
        return np.squeeze(narrow, 2) if layout.read_as == 'mono8' else narrow, layout.read_as
    if layout.bytes_per_pixel > 1:
        rows = rows.reshape(len(rows), message.width, layout.bytes_per_pixel)
    if layout.color_code is None:
        return rows, layout.read_as
    if layout.is_subsampled:
        _require_even_sides(message, rows=layout.has_chroma_rows)
    return np.asarray(cv2.cvtColor(rows, layout.color_code), np.uint8), layout.read_as


def rows_of(message: Any, bytes_per_pixel: int, *, has_chroma_rows: bool = False) -> Pixels8:
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
    rows = height + height // 2 if has_chroma_rows else height
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


def _layout(encoding: str) -> Layout:
    refuse_depth(encoding)
    layout = LAYOUTS.get(encoding)
    if layout is None:
        msg = f'encoding {encoding!r} is not read, allowed: {", ".join(LAYOUTS)}'
        raise ImageError(msg)
    return layout


def _require_even_sides(message: Any, *, rows: bool) -> None:
    if message.width % 2 or (rows and message.height % 2):
        sides = 'width and height' if rows else 'width'
        msg = (
            f'a {message.encoding} image is {message.width}x{message.height}, '
            f'its {sides} must be even'
        )
        raise ImageError(msg)
