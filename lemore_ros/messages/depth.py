"""Convert depth images to metres (REP 118)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_ros.messages.images import ImageError, rows_of

FARTHEST_M = 1e6
# encoding -> (dtype, metres of one unit)
UNITS = {'16UC1': ('u2', 0.001), '32FC1': ('f4', 1.0)}


def to_metres(message: Any) -> NDArray[np.float32]:
    """Return the depth of every pixel of a ``sensor_msgs/Image``, (H, W) float32 in metres.

    16UC1 holds millimetres, 32FC1 metres. Pixels without a measurement are NaN: 0 in 16UC1; NaN,
    infinities (REP 117: too close, out of range), 0 and below, and beyond 1000 km, in 32FC1.

    Raises:
        ImageError: the encoding is not supported, the image is empty, or ``step`` or ``data`` are
            too short for its size.
    """
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
    # comparisons with NaN are false
    metres[~((metres > 0) & (metres <= FARTHEST_M))] = np.nan
    return metres
