"""The image that is segmented again and again."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.export.export import STREET
from lemore_core.image import Image

ENCODING = 'bgr8'  # what most cameras of robots send
SIZE = (540, 960)

Pixels = NDArray[np.uint8]


def read_image(path: Path | None) -> Pixels:
    """Return an image, or the first of a video, BGR (H, W, 3) uint8; without a path a street.

    Raises:
        BenchmarkError: the file is no readable image or video.

    """
    if path is None:
        return at_size(np.asarray(cv2.imread(str(STREET)), np.uint8), *SIZE).pixels
    found, image = cv2.VideoCapture(str(path)).read() if path.is_file() else (False, None)
    if not found:
        msg = f'{path} is no readable image or video'
        raise BenchmarkError(msg)
    return np.asarray(image, np.uint8)


def at_size(image: Pixels, height: int, width: int) -> Image:
    """Return the image as a camera of that size would send it."""
    if image.shape[:2] != (height, width):
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    return Image(image, ENCODING)
