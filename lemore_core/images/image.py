"""Camera pixels to what the network's input graph takes: RGB uint8 at the network's size."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError

CHANNELS = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}
_TO_RGB = {
    'bgr8': cv2.COLOR_BGR2RGB,
    'rgba8': cv2.COLOR_RGBA2RGB,
    'bgra8': cv2.COLOR_BGRA2RGB,
    'mono8': cv2.COLOR_GRAY2RGB,
}
_ROTATE = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


class Image(NamedTuple):
    """Pixels of 8 bits, what they mean, and where they are from.

    ``pixels`` (H, W, 3) uint8 for rgb8 and bgr8, (H, W, 4) for rgba8 and bgra8, (H, W) for mono8;
    rows may be padded. ``header`` is the ``std_msgs/Header`` of the message that it was, if it
    was one; nothing here looks into it. ``rotation`` is by how many degrees clockwise (one of
    ``limits.ROTATIONS``) the network sees it rotated, as where the camera is mounted on its side.
    """

    pixels: NDArray[np.uint8]
    encoding: str = 'rgb8'
    header: Any = None
    rotation: int = 0


class PixelError(LemoreError):
    """An image whose type, shape or encoding is not what it must be."""


def as_image(image: Any, encoding: str) -> Image:
    """Return an array as an image of that encoding, and an image of Pillow as rgb8.

    Raises:
        PixelError: it is neither.
    """
    if isinstance(image, np.ndarray):
        return Image(image, encoding)
    if hasattr(image, 'convert') and hasattr(image, 'getbands'):
        return Image(np.asarray(image.convert('RGB')))
    msg = (
        f'the image is a {type(image).__name__}, it must be a NumPy array (H, W, 3) uint8, or an '
        'image of Pillow; lemore_core.images.files.read_image reads files'
    )
    raise PixelError(msg)


def check_pixels(image: NDArray[np.uint8], encoding: str) -> None:
    """Refuse what is no 8-bit image of that encoding.

    Raises:
        PixelError: with the value found and what is allowed.
    """
    if encoding not in CHANNELS:
        msg = f'encoding {encoding!r} is not one of {", ".join(CHANNELS)}'
        raise PixelError(msg)
    if image.dtype != np.uint8:
        msg = f'the image is {image.dtype}, it must be uint8'
        raise PixelError(msg)
    channels = 1 if image.ndim == 2 else image.shape[-1]
    if image.ndim not in (2, 3) or channels != CHANNELS[encoding]:
        msg = f'the image has shape {image.shape}, {encoding} needs {CHANNELS[encoding]} channels'
        raise PixelError(msg)
    if image.size == 0:
        msg = f'the image has shape {image.shape}, it holds no pixels'
        raise PixelError(msg)


def rotated(pixels: NDArray[Any], degrees: int) -> NDArray[Any]:
    """Return (H, W) or (H, W, C) rotated clockwise by one of ``limits.ROTATIONS``, itself by 0."""
    return cv2.rotate(pixels, _ROTATE[degrees]) if degrees else pixels


def to_rgb(image: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """Return an image of any encoding as RGB (H, W, 3) uint8; RGB itself is not copied."""
    if encoding == 'rgb8':
        return image
    return np.asarray(cv2.cvtColor(image, _TO_RGB[encoding]), np.uint8)


def to_network(
    image: NDArray[np.uint8], encoding: str, height: int, width: int
) -> NDArray[np.uint8]:
    """Resize an image and return it as RGB (height, width, 3) uint8, C-contiguous.

    Colours are converted after the resize: the network's size is the smaller one on most cameras.
    """
    if image.shape[:2] != (height, width):
        shrinks = image.shape[0] > height and image.shape[1] > width
        # averaging keeps thin things when a large image shrinks, bilinear would skip pixels
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = np.asarray(
            cv2.resize(image, (width, height), interpolation=interpolation), np.uint8
        )
    return np.ascontiguousarray(to_rgb(image, encoding))
