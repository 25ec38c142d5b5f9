"""Image files as pixels, and whether they are whole."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.data.errors import DataError

IMAGES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff', '.ppm')

PNG = b'\x89PNG\r\n\x1a\n'
JPEG = b'\xff\xd8\xff'
JPEG_END = b'\xff\xd9'
JPEG_SCAN = 0xDA
COLOR_TYPE = 25  # where a PNG says what its samples are
BY_PALETTE = 3


@dataclass(frozen=True)
class Pixels:
    """What an image file holds.

    ``values`` is (H, W) of numbers, or (H, W, 3) RGB; ``palette`` the RGB colours, (n, 3) uint8, of
    the numbers of a file that has a palette.
    """

    values: NDArray[Any]
    palette: NDArray[np.uint8] | None = None


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Return an image as RGB (H, W, 3) uint8.

    Raises:
        DataError: the file is no readable image.

    """
    image = try_rgb(path)
    if image is None:
        msg = f'{path} is no readable image'
        raise DataError(msg)
    return image


def try_rgb(path: Path) -> NDArray[np.uint8] | None:
    """Return an image as RGB (H, W, 3) uint8, or None where the file is no readable image."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if image is None else np.ascontiguousarray(image[..., ::-1], np.uint8)


def read_pixels(path: Path) -> Pixels:
    """Return an image's numbers as they are in the file; with a palette, its indices.

    Raises:
        DataError: the file is no readable image.

    """
    content = read_bytes(path)
    if content.startswith(PNG) and content[COLOR_TYPE : COLOR_TYPE + 1] == bytes([BY_PALETTE]):
        return _read_indices(path, content)
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        msg = f'{path} is no readable image'
        raise DataError(msg)
    return Pixels(values if values.ndim == 2 else values[..., 2::-1])


def read_bytes(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        DataError: the file is not there, cannot be read or is empty.

    """
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f'{path} cannot be read: {error.strerror}'
        raise DataError(msg) from error
    if not content:
        msg = f'{path} is empty'
        raise DataError(msg)
    return content


def truncated(content: bytes) -> bool:
    """Say whether an image file breaks off before its end; only JPEG, PNG and WebP show it.

    OpenCV decodes what there is of such a file and makes up the rest.
    """
    if content.startswith(JPEG):
        return content.rfind(JPEG_END, _jpeg_scan(content)) < 0
    if content.startswith(PNG):
        return not _png_ends(content)
    if content.startswith(b'RIFF'):
        return len(content) < 8 + int.from_bytes(content[4:8], 'little')
    return False


def _read_indices(path: Path, content: bytes) -> Pixels:
    # OpenCV replaces indices by their colours
    try:
        from PIL import Image
    except ImportError as error:
        msg = f'{path} is a PNG with a palette, which needs Pillow: pip install pillow'
        raise DataError(msg) from error
    try:
        image = Image.open(io.BytesIO(content))
        values = np.asarray(image)
    except (OSError, SyntaxError) as error:
        msg = f'{path} is no readable image: {error}'
        raise DataError(msg) from error
    return Pixels(values, np.array(image.getpalette(), np.uint8).reshape(-1, 3))


def _jpeg_scan(content: bytes) -> int:
    """Return where the coded pixels begin: a thumbnail in the headers has an end of its own."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        if content[place + 1] == JPEG_SCAN:
            return place
        place += 2 + int.from_bytes(content[place + 2 : place + 4], 'big')
    return len(content)


def _png_ends(content: bytes) -> bool:
    place = len(PNG)
    while place + 12 <= len(content):
        size = int.from_bytes(content[place : place + 4], 'big')
        if content[place + 4 : place + 8] == b'IEND':
            return True
        place += 12 + size
    return False
