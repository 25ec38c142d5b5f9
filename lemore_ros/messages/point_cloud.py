"""Labelled points: what a depth image and the labels of the same camera say together."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.image import Image
from lemore_core.refine import resized
from lemore_core.segmentation import Segmentation
from lemore_ros.messages.camera_info import Intrinsics, rectified_intrinsics
from lemore_ros.messages.depth import to_metres

# one point in memory and in the message. rgb: the bytes of a float, 0x00RRGGBB, as PCL packs and
# RViz reads it; with an alpha of 255 some colours would be NaN, and readers that skip NaN drop those
# points. label: as wide as in PCL's PointXYZRGBL, which takes no other type. confidence: 0..1, as
# min_confidence is; RViz colours by it.
FIELDS = {
    'x': ('<f4', 'FLOAT32'),
    'y': ('<f4', 'FLOAT32'),
    'z': ('<f4', 'FLOAT32'),
    'rgb': ('<u4', 'FLOAT32'),
    'label': ('<u4', 'UINT32'),
    'confidence': ('<f4', 'FLOAT32'),
}
POINT = np.dtype([(name, dtype) for name, (dtype, _) in FIELDS.items()])
_TO_BGRA = {
    'bgr8': cv2.COLOR_BGR2BGRA,
    'rgb8': cv2.COLOR_RGB2BGRA,
    'rgba8': cv2.COLOR_RGBA2BGRA,
    'mono8': cv2.COLOR_GRAY2BGRA,
}


def to_point_cloud(image: Image, result: Segmentation, depth: Any, info: Any) -> Any:
    """Return the ``sensor_msgs/PointCloud2`` of a depth image, coloured and labelled.

    The cloud is organised: one point for each pixel of ``depth`` (see
    :func:`~lemore_ros.messages.depth.to_metres`), in metres in the camera's optical frame (REP 103: x right,
    y down, z forward), x, y and z NaN where nothing was measured. ``label`` and ``confidence``
    (0..1) are those of ``result``, ``rgb`` that of ``image``, whose header it gets.

    ``depth`` must be registered to the image and rectified, hence distortion plays no part in it.
    ``info`` is the ``CameraInfo`` of either of the two; it is scaled to the depth image where it has
    another size of the same shape. Image and labels of any other size cover the same view and are
    taken by nearest neighbour.

    Raises:
        ImageError: ``depth`` contradicts itself or is neither 16UC1 nor 32FC1.
        CameraInfoError: ``info`` is not calibrated, or its shape is not that of ``depth``.

    """
    z = to_metres(depth)
    size = height, width = z.shape
    across, down = _rays(rectified_intrinsics(info, height=height, width=width))
    cloud = _empty_cloud(height, width, image.header)
    points = np.frombuffer(cloud.data, POINT).reshape(size)
    np.multiply(z, across, out=points['x'])
    np.multiply(z, down, out=points['y'])
    points['z'] = z
    points['rgb'] = _packed(resized(image.pixels, size), image.encoding)
    points['label'] = resized(result.labels, size)
    confidence = resized(result.confidence, size)
    np.multiply(confidence, np.float32(1 / 255), out=points['confidence'])
    return cloud


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


def _empty_cloud(height: int, width: int, header: Any) -> Any:
    # the bag tools read frames with this package where no ROS is installed
    from sensor_msgs.msg import PointCloud2, PointField

    cloud = PointCloud2(
        header=header, height=height, width=width, is_bigendian=False, is_dense=False
    )
    cloud.point_step = POINT.itemsize
    cloud.row_step = POINT.itemsize * width
    cloud.fields = [
        PointField(name=name, offset=4 * place, datatype=getattr(PointField, kind), count=1)
        for place, (name, (_, kind)) in enumerate(FIELDS.items())
    ]
    # the message's own array grows in place: one that is assigned gets copied, megabytes of it
    data = cloud.data
    data.append(0)
    data *= height * width * POINT.itemsize
    return cloud
