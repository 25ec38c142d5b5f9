"""Images as data URIs, so that a report needs no file beside it."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

PHOTO_QUALITY = 80
LOSSLESS = 101  # OpenCV: a WebP quality above 100


def fit_width(size: tuple[int, int], width: int) -> tuple[int, int]:
    """Return (height, width) of an image of that size, shrunk to ``width`` if it is wider."""
    if size[1] <= width:
        return size
    return max(1, round(size[0] * width / size[1])), width


def photo_uri(image: NDArray[np.uint8], size: tuple[int, int]) -> str:
    """Return an RGB image (H, W, 3) uint8 at ``size`` (height, width), compressed with loss."""
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return _uri(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), PHOTO_QUALITY)


def layer_uri(rgba: NDArray[np.uint8], size: tuple[int, int]) -> str:
    """Return colours with transparency, RGBA (H, W, 4) uint8, at ``size``, without loss."""
    small = cv2.resize(rgba, size[::-1], interpolation=cv2.INTER_NEAREST)
    return _uri(cv2.cvtColor(small, cv2.COLOR_RGBA2BGRA), LOSSLESS)


def _uri(pixels: cv2.typing.MatLike, quality: int) -> str:
    done, content = cv2.imencode('.webp', pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        msg = f'OpenCV cannot write an image of shape {pixels.shape} as WebP'
        raise RuntimeError(msg)
    return 'data:image/webp;base64,' + base64.b64encode(content.tobytes()).decode('ascii')
