"""Depth images to metres."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.limits import MAX_PIXELS
from lemore_core.images.files import NUMBERS, PNG, ImageFileError, decode_image
from lemore_ros.messages.encodings import ImageError, rows_of

# REP 118: encoding -> (dtype, metres of one unit)
FARTHEST_M = 1e6
HEADER = struct.Struct('<iff')  # of compressedDepth: a number, and two of the quantisation
UNITS = {'16UC1': ('u2', 0.001), '32FC1': ('f4', 1.0)}


def to_metres(message: Any, max_pixels: int = MAX_PIXELS) -> NDArray[np.float32]:
    """Return the depth of every pixel of a depth image, (H, W) float32 in metres.

    ``message`` is a ``sensor_msgs/Image``, or a ``CompressedImage`` of image_transport's compressedDepth in
    PNG, of which at most ``max_pixels`` are decoded.

    16UC1 holds millimetres, 32FC1 metres (REP 118). What is no measurement is NaN: 0 in 16UC1; NaN,
    infinities (REP 117: too close, out of range), 0 and below, and what lies beyond 1000 km, in 32FC1.

    Raises:
        ImageError: the encoding is another, the image is empty, or ``step`` or ``data`` are too
            short for its size, or no whole PNG.
    """
    if hasattr(message, 'format'):
        return _unpacked(message, max_pixels)
    if message.encoding not in UNITS:
        msg = (
            f'depth has encoding {message.encoding!r}, allowed: 16UC1 (millimetres), 32FC1 (metres)'
        )
        raise ImageError(msg)
    kind, unit = UNITS[message.encoding]
    dtype = np.dtype(('>' if message.is_bigendian else '<') + kind)
    raw = np.ascontiguousarray(rows_of(message, dtype.itemsize)).view(dtype)
    with np.errstate(invalid='ignore'):  # a NaN may be a signalling one
        metres: NDArray[np.float32] = np.multiply(raw, np.float32(unit), dtype=np.float32)
    return _measured(metres)


def _unpacked(message: Any, max_pixels: int) -> NDArray[np.float32]:
    # compressed_depth_image_transport: "16UC1; compressedDepth png", the codec since Humble
    encoding, _, packed = (part.strip() for part in message.format.partition(';'))
    transport, *codec = packed.split()[:2] or ['']
    if encoding not in UNITS or transport != 'compressedDepth' or codec not in ([], ['png']):
        msg = (
            f'depth has format {message.format!r}, allowed: 16UC1 or 32FC1; compressedDepth png. '
            'Others are read by image_transport: ros2 run image_transport republish '
            'compressedDepth raw'
        )
        raise ImageError(msg)
    data = bytes(message.data)
    if len(data) < HEADER.size:
        msg = f'{len(data)} bytes are no compressedDepth, its header alone takes {HEADER.size}'
        raise ImageError(msg)
    _, near, far = HEADER.unpack_from(data)
    try:
        raw = decode_image(data[HEADER.size :], NUMBERS, kinds=(PNG,), max_pixels=max_pixels)
    except ImageFileError as error:
        msg = f'the data, of format {message.format!r}, are not read: {error}'
        raise ImageError(msg) from error
    if raw.dtype != np.uint16 or raw.ndim != 2:
        msg = f'depth of format {message.format!r} is {raw.dtype} of shape {raw.shape}, not 16 bits'
        raise ImageError(msg)
    if encoding == '16UC1':
        return _measured(raw * np.float32(UNITS[encoding][1]))
    # inverse depth in steps: near / (value - far), 0 where nothing was measured
    with np.errstate(all='ignore'):
        metres = np.float32(near) / (raw.astype(np.float32) - np.float32(far))
    metres[raw == 0] = np.nan
    return _measured(metres)


def _measured(metres: NDArray[np.float32]) -> NDArray[np.float32]:
    # comparisons with NaN are false
    metres[~((metres > 0) & (metres <= FARTHEST_M))] = np.nan
    return metres
