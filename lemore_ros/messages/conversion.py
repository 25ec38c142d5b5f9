"""Bayer mosaics, YUV and channels of 16 bits to channels of 8, by the field's own packages.

cv_bridge does it where it works, else rosbags-image: both with the same functions of OpenCV, so
that the pixels are the same.
"""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import in_one_line
from lemore_ros.messages.encodings import CONVERTED, NV, ImageError, rows_of

# the names by which cv_bridge knows YUV 4:2:2 on every distribution
CV_BRIDGE_NAMES = {'uyvy': 'yuv422', 'yuyv': 'yuv422_yuy2'}
# a wall of one colour, which OpenCV's versions and their numbers for types have got wrong before
PROBE = """
from types import SimpleNamespace
import numpy as np
from cv_bridge import CvBridge

def read(encoding, tile, target, channels):
    data = np.tile(tile, (2, 2))
    image = SimpleNamespace(height=4, width=4, step=data.strides[0], encoding=encoding)
    image.is_bigendian, image.data = 0, data.tobytes()
    pixels = CvBridge().imgmsg_to_cv2(image, target)
    assert pixels.shape[:2] == (4, 4) and pixels.size == 16 * channels
    return pixels.reshape(16, channels).tolist()

mosaic = np.array([[200, 100], [100, 50]], np.uint8)
assert read('bayer_rggb8', mosaic, 'bgr8', 3) == [[50, 100, 200]] * 16
grey = np.tile(np.array([128, 126], np.uint8), (2, 2))
assert read('yuv422', grey, 'bgr8', 3) == [[128] * 3] * 16
wide = np.tile(np.array([1, 2, 300], np.uint16), (2, 2))
assert read('bgr16', wide, 'bgr16', 3) == [[1, 2, 300]] * 16
"""
PROBE_S = 60.0


def convert(message: Any) -> tuple[NDArray[np.uint8], str]:
    """Return the pixels of an image of one of ``CONVERTED``, and their encoding.

    Of channels of 16 bits the upper 8 are taken.

    Raises:
        ImageError: the image is empty, ``step`` or ``data`` are too short for its size, its size
            is none that the encoding can have, or nothing is installed that converts it.
    """
    target, bytes_per_pixel = CONVERTED[message.encoding]
    rows = rows_of(message, bytes_per_pixel)
    data = np.ascontiguousarray(rows)
    if target.endswith('16'):
        wide = data.view('>u2' if message.is_bigendian else '<u2')
        data = np.ascontiguousarray(wide, np.uint16).view(np.uint8)
    # one of the packages ignores padding, both the rows of chroma, and the other byte order is
    # beyond cv_bridge with NumPy 2
    tidy = SimpleNamespace(
        height=len(rows),
        width=message.width,
        step=rows.shape[1],
        encoding=message.encoding,
        is_bigendian=int(sys.byteorder == 'big'),
        data=data.reshape(-1),
    )
    try:
        pixels = _convert(tidy, target)
    except ImportError as error:
        msg = (
            f'{message.encoding} images are converted by cv_bridge or rosbags-image, neither '
            'works here: apt install ros-$ROS_DISTRO-cv-bridge, or pip install rosbags-image'
        )
        raise ImageError(msg) from error
    except Exception as error:
        size = f'{message.width}x{message.height}'
        msg = f'a {message.encoding} image of {size} cannot be converted: {in_one_line(error)}'
        raise ImageError(msg) from error
    narrow = pixels >> 8 if pixels.dtype == np.uint16 else pixels
    return np.ascontiguousarray(narrow, np.uint8), target.replace('16', '8')


def _convert(image: Any, target: str) -> NDArray[Any]:
    bridge = None if image.encoding in NV else cv_bridge()  # it knows no NV12 and NV21
    if bridge is not None:
        image.encoding = CV_BRIDGE_NAMES.get(image.encoding, image.encoding)
        return np.asarray(bridge.imgmsg_to_cv2(image, target))
    from rosbags.image import message_to_cvimage

    return np.asarray(message_to_cvimage(image, target))


@lru_cache(1)
def cv_bridge() -> Any:
    """Return a ``CvBridge``, ``None`` where there is none or it does not work."""
    if find_spec('cv_bridge') is None:
        return None
    # built for another NumPy or OpenCV it may end the process that calls it: hence another one
    try:
        subprocess.run(
            [sys.executable, '-c', PROBE], capture_output=True, check=True, timeout=PROBE_S
        )
    except subprocess.SubprocessError:
        return None
    from cv_bridge import CvBridge

    return CvBridge()
