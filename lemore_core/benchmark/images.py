"""The image that is segmented again and again."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.image import Image

# where it lies in a checkout; a package without it has the synthetic image
CLIP = Path(__file__).parents[2] / 'config' / 'demo' / 'solid_white_right.mp4'
ENCODING = 'bgr8'  # what most cameras of robots send
SYNTHETIC = (480, 640)

Pixels = NDArray[np.uint8]


def read_image(path: Path | None) -> Pixels:
    """Return an image, or the first of a video, BGR (H, W, 3) uint8.

    Without a path it is the shipped clip's, or a synthetic one where that is not installed.

    Raises:
        BenchmarkError: the file is no readable image or video.

    """
    if path is None:
        if not CLIP.is_file():
            return synthetic_image(*SYNTHETIC)
        path = CLIP
    found, image = cv2.VideoCapture(str(path)).read() if path.is_file() else (False, None)
    if not found:
        msg = f'{path} is no readable image or video'
        raise BenchmarkError(msg)
    return np.asarray(image, np.uint8)


def synthetic_image(height: int, width: int) -> Pixels:
    """Return an image (height, width, 3) uint8 of coloured areas with some noise on them."""
    random = np.random.default_rng(0)
    areas = random.integers(0, 224, (6, 8, 3), np.uint8)
    noise = random.integers(0, 32, (height, width, 3), np.uint8)
    return np.asarray(cv2.resize(areas, (width, height)) + noise, np.uint8)


def at_size(image: Pixels, height: int, width: int) -> Image:
    """Return the image as a camera of that size would send it."""
    if image.shape[:2] != (height, width):
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    return Image(image, ENCODING)
