"""The images and masks of a data set as pixels."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import in_one_line
from lemore_core.data.errors import DataError
from lemore_core.images.files import (
    NUMBERS,
    PNG_MAGIC,
    ImageFileError,
    check_header,
    decode_image,
    read_bytes,
    read_image,
)

COLOR_TYPE = 25  # where a PNG says what its samples are
BY_PALETTE = b'\x03'


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
        DataError: the file is no whole, readable image.
    """
    try:
        return read_image(path)
    except ImageFileError as error:
        raise DataError(str(error)) from error


def read_pixels(path: Path) -> Pixels:
    """Return an image's numbers as they are in the file; with a palette, its indices.

    Raises:
        DataError: the file is no whole, readable image.
    """
    try:
        content = read_bytes(path)
        if content.startswith(PNG_MAGIC) and content[COLOR_TYPE : COLOR_TYPE + 1] == BY_PALETTE:
            return _read_indices(content)
        return Pixels(decode_image(content, NUMBERS))
    except ImageFileError as error:
        # what cannot be opened is named already
        named = str(path) in str(error)
        msg = str(error) if named else f'{path} is no readable image: {error}'
        raise DataError(msg) from error


def _read_indices(content: bytes) -> Pixels:
    # OpenCV replaces indices by their colours
    try:
        from PIL import Image
    except ImportError as error:
        msg = 'a PNG with a palette needs Pillow: pip install pillow'
        raise ImageFileError(msg) from error
    check_header(content)
    try:
        image = Image.open(io.BytesIO(content), formats=['PNG'])
        values = np.asarray(image)
        palette = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
    except Exception as error:  # damage shows in a dozen ways
        raise ImageFileError(in_one_line(error)) from error
    return Pixels(values, palette)
