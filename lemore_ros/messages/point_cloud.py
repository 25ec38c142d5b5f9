"""Combine a depth image (REP 118) and the labels of the same camera to a labelled point cloud."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import shown
from lemore_core.images.image import Image
from lemore_core.segmentation import Segmentation, resized
from lemore_ros.messages.camera_info import Intrinsics, rectified_intrinsics
from lemore_ros.messages.images import ImageError, rows_of

# rgb: the bytes of a float, 0x00RRGGBB, as in PCL and RViz; with an alpha of 255 some colours would
# be NaN, and readers that skip NaN drop those points. label: the type of PCL's PointXYZRGBL
FIELDS = {'x': 'f4', 'y': 'f4', 'z': 'f4', 'rgb': 'f4', 'label': 'u4', 'confidence': 'f4'}
POINT = np.dtype(list(FIELDS.items()))
FARTHEST_M = 1e6
# encoding -> (dtype, metres of one unit)
UNITS = {'16UC1': ('u2', 0.001), '32FC1': ('f4', 1.0)}
_TO_BGRA = {
    'bgr8': cv2.COLOR_BGR2BGRA,
    'rgb8': cv2.COLOR_RGB2BGRA,
    'rgba8': cv2.COLOR_RGBA2BGRA,
    'mono8': cv2.COLOR_GRAY2BGRA,
}


def to_point_cloud(image: Image, result: Segmentation, depth: Any, info: Any) -> Any:
    """Return the ``sensor_msgs/PointCloud2`` of a depth image, coloured and labelled.

    The cloud is organised: one point for each pixel of ``depth``, in metres in the camera's optical
    frame (REP 103: x right, y down, z forward), x, y and z NaN where nothing was measured.
    ``label`` and ``confidence`` (0..1) are those of ``result``, ``rgb`` that of ``image``, and the
    header is that of ``image``.

    ``depth`` must be registered to the image and rectified. ``info`` is the ``CameraInfo`` of
    either of the two; it is scaled to the depth image. Image and labels are sampled by nearest
    neighbour where they have another size.

    Raises:
        ImageError: the depth image is none, or has another shape than the image.
        CameraInfoError: ``info`` does not fit it, or is not calibrated.
    """
    z = to_metres(depth)
    size = height, width = z.shape
    own_height, own_width = image.pixels.shape[:2]
    # a side that was rounded may be off by one pixel
    if abs(width * own_height / own_width - height) > 1:
        msg = (
            f'the depth image is {width}x{height}, the image {own_width}x{own_height}, of another '
            'shape: depth must be registered to the camera'
        )
        raise ImageError(msg)
    across, down = _rays(rectified_intrinsics(info, height=height, width=width))
    points = np.empty(size, POINT)
    np.multiply(z, across, out=points['x'])
    np.multiply(z, down, out=points['y'])
    points['z'] = z
    points['rgb'].view('u4')[:] = _packed(resized(image.pixels, size), image.encoding)
    points['label'] = resized(result.labels, size)
    confidence = resized(result.confidence, size)
    np.multiply(confidence, np.float32(1 / 255), out=points['confidence'])
    return lay_out(points, image.header)


def depth_rows(message: Any, max_pixels: int) -> NDArray[np.uint8]:
    """View the bytes of a depth image's rows without padding, or refuse it."""
    if message.encoding not in UNITS:
        msg = (
            f'depth has encoding {shown(message.encoding)}, allowed: 16UC1 (millimetres), 32FC1 '
            '(metres)'
        )
        raise ImageError(msg)
    itemsize = np.dtype(UNITS[message.encoding][0]).itemsize
    # rows may be padded without end
    if max(message.height * message.width, len(message.data) // itemsize) > max_pixels:
        size = f'{message.width}x{message.height} pixels in {len(message.data)} bytes'
        msg = f'the depth image has {size}, allowed: up to {max_pixels} (max_pixels)'
        raise ImageError(msg)
    return rows_of(message, itemsize)


def to_metres(message: Any) -> NDArray[np.float32]:
    """Return the depth of every pixel of a ``sensor_msgs/Image``, (H, W) float32 in metres.

    16UC1 holds millimetres, 32FC1 metres. Pixels without a measurement are NaN: 0 in 16UC1; NaN,
    infinities (REP 117: too close, out of range), 0 and below, and beyond 1000 km, in 32FC1.
    """
    rows, (kind, unit) = depth_rows(message, sys.maxsize), UNITS[message.encoding]
    raw = np.ascontiguousarray(rows).view(('>' if message.is_bigendian else '<') + kind)
    with np.errstate(invalid='ignore'):  # a NaN may be a signalling one
        metres: NDArray[np.float32] = np.multiply(raw, np.float32(unit), dtype=np.float32)
    # comparisons with NaN are false
    metres[~((metres > 0) & (metres <= FARTHEST_M))] = np.nan
    return metres


@lru_cache(maxsize=8)
def _rays(camera: Intrinsics) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return x/z of every column, (1, W), and y/z of every row, (H, 1)."""
    across = (np.arange(camera.width) - camera.cx) / camera.fx
    down = (np.arange(camera.height) - camera.cy) / camera.fy
    return across.astype(np.float32)[None, :], down.astype(np.float32)[:, None]


def _packed(pixels: NDArray[np.uint8], encoding: str) -> NDArray[np.uint32]:
    """Return colours as 0x00RRGGBB, (H, W)."""
    if encoding == 'bgra8':
        bgra = np.ascontiguousarray(pixels)
    else:
        bgra = np.asarray(cv2.cvtColor(pixels, _TO_BGRA[encoding]), np.uint8)
    words: NDArray[np.uint32] = bgra.view('<u4')[..., 0]
    return words & np.uint32(0x00FFFFFF)


def lay_out(points: NDArray[np.void], header: Any) -> Any:
    """Return points, (H, W) of ``POINT``, as an organised ``sensor_msgs/PointCloud2``."""
    from sensor_msgs.msg import PointCloud2, PointField

    types = {'f4': PointField.FLOAT32, 'u4': PointField.UINT32}
    fields = [
        PointField(name=name, offset=4 * place, datatype=types[kind], count=1)
        for place, (name, kind) in enumerate(FIELDS.items())
    ]
    height, width = points.shape
    cloud = PointCloud2(
        header=header,
        height=height,
        width=width,
        is_bigendian=sys.byteorder == 'big',
        is_dense=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * width,
        fields=fields,
    )
    # the message's own array grows in place: one that is assigned may be copied once more
    cloud.data.frombytes(points.reshape(-1).view(np.uint8).data)
    return cloud
