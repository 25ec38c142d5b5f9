"""The image that is segmented again and again."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.common.errors import LemoreError
from lemore_core.export.street import STREET
from lemore_core.images.files import SUFFIXES, decode_image, read_bytes
from lemore_core.images.image import Image

ENCODING = 'bgr8'  # what most cameras of robots send
SIZE = (540, 960)

Pixels = NDArray[np.uint8]


def read_image(path: Path | None) -> Pixels:
    """Return an image, or the first of a video, BGR (H, W, 3) uint8; without a path a street.

    Raises:
        BenchmarkError: the file is no readable image or video.
    """
    if path is None:
        return at_size(decode_image(read_bytes(STREET), order='BGR'), *SIZE).pixels
    try:
        if path.suffix.lower() in SUFFIXES:
            return decode_image(read_bytes(path), order='BGR')
        from lemore_core.images.video import read_video

        _, image = next(read_video(path))
    except (LemoreError, StopIteration) as error:
        msg = f'{path} is no readable image or video: {error}'
        raise BenchmarkError(msg) from error
    return np.ascontiguousarray(image[..., ::-1])


def at_size(image: Pixels, height: int, width: int) -> Image:
    """Return the image as a camera of that size would send it."""
    if image.shape[:2] != (height, width):
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    return Image(image, ENCODING)
