"""Scale ``sensor_msgs/CameraInfo`` to an image of another size.

The message describes the sensor; its binning and region of interest are applied as
``image_geometry`` applies them, and an image is resized as ``image_proc`` resizes it.
"""

from __future__ import annotations

from math import atan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError, shown

# of any number, and of a focal length in pixels: points of a depth image cannot overflow
LARGEST, SMALLEST_FOCAL = 1e9, 1e-3
# the longest known model has 14
MOST_COEFFICIENTS = 64
MATRICES = {'k': (3, 3), 'p': (3, 4)}


class CameraInfoError(LemoreError):
    """A camera that is not calibrated, or a camera info that does not fit the image."""


class Intrinsics(NamedTuple):
    """Focal lengths and principal point in pixels of a height x width image."""

    fx: float
    fy: float
    cx: float
    cy: float
    height: int
    width: int


def scaled_camera_info(info: Any, header: Any, *, height: int, width: int) -> Any:
    """Return the ``CameraInfo`` of the same image, with ``header``, at another size."""
    from sensor_msgs.msg import CameraInfo

    _require_calibration(info)
    return CameraInfo(
        header=header,
        height=height,
        width=width,
        distortion_model=info.distortion_model,
        d=list(info.d),
        k=_matrix(info, 'k', height, width).ravel(),
        r=list(info.r),
        p=_matrix(info, 'p', height, width).ravel(),
    )


def rectified_intrinsics(info: Any, *, height: int, width: int) -> Intrinsics:
    """Return the camera of a rectified image: P, or K where P is empty, scaled to its size."""
    _require_calibration(info)
    require_shape(info, height=height, width=width)
    matrix = _matrix(info, 'p' if info.p[0] else 'k', height, width)
    (fx, _, cx, *_), (_, fy, cy, *_), _ = matrix.tolist()
    return Intrinsics(fx, fy, cx, cy, height, width)


def require_shape(info: Any, *, height: int, width: int) -> None:
    """Refuse the camera info of an image of another aspect: resized, it describes another camera."""
    known_height, known_width = _image_size(info)
    # a side that was rounded may be off by one pixel
    if abs(width * known_height / known_width - height) > 1:
        msg = (
            f'the camera info is for {known_width}x{known_height}, an image of {width}x{height} '
            'has another shape: publish the camera info of that image, or register the depth image '
            'to the color camera'
        )
        raise CameraInfoError(msg)


def field_of_view(info: Any, *, height: int, width: int) -> tuple[float, float]:
    """Return the horizontal and vertical field of view of a rectified image, in radians."""
    fx, fy, cx, cy, *_ = rectified_intrinsics(info, height=height, width=width)
    horizontal = atan(cx / fx) + atan((width - cx) / fx)
    return horizontal, atan(cy / fy) + atan((height - cy) / fy)


def _require_calibration(info: Any) -> None:
    """Refuse matrices that are not finite or have no focal length; P may be empty."""
    if len(info.d) > MOST_COEFFICIENTS or len(info.distortion_model) > MOST_COEFFICIENTS:
        msg = (
            f'the camera is not calibrated: D has {len(info.d)} numbers of the distortion model '
            f'{shown(info.distortion_model)}, allowed: up to {MOST_COEFFICIENTS}'
        )
        raise CameraInfoError(msg)
    focal = {'K': (info.k[0], info.k[4]), 'P': (info.p[0], info.p[5])}
    if not any(focal['P']):
        del focal['P']
    wrong = [
        name
        for name in ('K', 'P', 'R', 'D')
        if not all(abs(value) <= LARGEST for value in getattr(info, name.lower()))
        or not all(value >= SMALLEST_FOCAL for value in focal.get(name, ()))
    ]
    if wrong:
        values = ', '.join(f'{value:g}' for value in getattr(info, wrong[0].lower()))
        msg = (
            f'the camera is not calibrated: {wrong[0]} is [{values}], all numbers must be finite '
            'and focal lengths above 0'
        )
        raise CameraInfoError(msg)


def _image_size(info: Any) -> tuple[int, int]:
    """Return (height, width) of the image: that of the region of interest, after binning."""
    # 0 stands for the whole sensor, and for no binning
    region = info.roi if info.roi.height or info.roi.width else info
    binning_x, binning_y = _binning(info)
    size = region.height // binning_y, region.width // binning_x
    if min(size) < 1:
        msg = (
            f'the camera info is for {info.width}x{info.height}, region '
            f'{region.width}x{region.height}, binning {binning_x}x{binning_y}: '
            'that leaves no image'
        )
        raise CameraInfoError(msg)
    return size


def _binning(info: Any) -> tuple[int, int]:
    return max(1, info.binning_x), max(1, info.binning_y)


def _matrix(info: Any, name: str, height: int, width: int) -> NDArray[np.float64]:
    """Return K or P for the image that ``info`` describes, resized to height x width."""
    own_height, own_width = _image_size(info)
    binning_x, binning_y = _binning(info)
    matrix = np.array(getattr(info, name), np.float64).reshape(MATRICES[name])
    matrix[0, 2] -= info.roi.x_offset
    matrix[1, 2] -= info.roi.y_offset
    matrix[0] *= width / (own_width * binning_x)
    matrix[1] *= height / (own_height * binning_y)
    return matrix
