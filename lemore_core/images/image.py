"""Check, rotate, convert and resize camera images for the network."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError

_log = logging.getLogger(__name__)
Pixels = NDArray[np.uint8]

CHANNELS = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}
_TO_RGB = {
    'bgr8': cv2.COLOR_BGR2RGB,
    'rgba8': cv2.COLOR_RGBA2RGB,
    'bgra8': cv2.COLOR_BGRA2RGB,
    'mono8': cv2.COLOR_GRAY2RGB,
}
# of cameras whose values lie in the low bits of 16
_DEPTHS = (8, 10, 12, 14, 16)
_OUTLIERS = 10_000  # of so many values one may be beyond the depth: pixels are dead, or damaged
_FLAT = 4  # times the values' span below the lowest one: temperatures, of which 8 bits keep little
_ROTATE = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class Image(NamedTuple):
    """8-bit pixels with their encoding.

    ``pixels`` (H, W, 3) uint8 for rgb8 and bgr8, (H, W, 4) for rgba8 and bgra8, (H, W) for mono8;
    rows may be padded. ``header`` is the message's ``std_msgs/Header``, never read here.
    ``rotation`` is in degrees clockwise, one of ``limits.ROTATIONS``, for the network's view.
    """

    pixels: Pixels
    encoding: str = 'rgb8'
    header: Any = None
    rotation: int = 0


class PixelError(LemoreError):
    """An image of a wrong type, shape or encoding."""


class BitDepth:
    """Depth of a stream's 16-bit channels, found from its values: many cameras fill 10, 12 or 14 bits.

    ``name`` is the stream's in the log, empty for image files.
    """

    def __init__(self, name: str = '') -> None:
        self._name, self._found = name, 0

    def to_8bit(self, pixels: NDArray[np.uint16], bits: int = 0) -> Pixels:
        """Return the upper 8 of ``bits``; 0 stands for the most that an image so far has filled."""
        colors = pixels[..., :3] if pixels.ndim == 3 else pixels  # alpha is full at every depth
        if bits == 0 and self._found < 16 and colors.any():
            self._find(colors)
        bits = bits or self._found or 16
        upper = pixels >> bits - 8
        return (upper if bits == 16 else np.minimum(upper, 255)).astype(np.uint8)

    def _find(self, pixels: NDArray[np.uint16]) -> None:
        most = pixels.size // _OUTLIERS
        fitting = (b for b in _DEPTHS if b == 16 or np.count_nonzero(pixels >> b) <= most)
        found = max(self._found, next(fitting))
        if found != self._found and (self._found or found < 16):
            _log_depth(self._name, found)
        low, high = np.percentile(pixels[::8, ::8], (1, 99)) if found != self._found else (0, 0)
        if 0 < _FLAT * (high - low) < low:
            _log_flat(self._name)
        self._found = found


@cache  # once for all files, and for all parts of a bag
def _log_depth(name: str, bits: int) -> None:
    what = f'{name}: its' if name else 'image files: some'
    text = '%s 16-bit values fill %d bits and are read so; --bit-depth (bit_depth) sets another'
    _log.warning(text, what, bits)


@cache
def _log_flat(name: str) -> None:
    what = f'{name}: its' if name else 'image files: some'
    text = '%s 16-bit values differ little, as from thermal cameras: scale them to 8 bits first'
    _log.warning(text, what)


def as_image(image: Any, encoding: str) -> Image:
    """Return a NumPy array as an image of ``encoding``, or a Pillow image as rgb8."""
    if isinstance(image, np.ndarray):
        return Image(image, encoding)
    if hasattr(image, 'convert') and hasattr(image, 'getbands'):
        return Image(np.asarray(image.convert('RGB')))
    msg = (
        f'the image is a {type(image).__name__}, it must be a NumPy array (H, W, 3) uint8, or an '
        'image of Pillow; lemore_core.images.files.read_image reads files'
    )
    raise PixelError(msg)


def check_pixels(image: Pixels, encoding: str) -> None:
    """Refuse an array that is no 8-bit image of ``encoding``."""
    channels = image.shape[-1] if image.ndim == 3 else 1
    if encoding not in CHANNELS:
        msg = f'encoding {encoding!r} is not one of {", ".join(CHANNELS)}'
    elif image.dtype != np.uint8:
        msg = f'the image is {image.dtype}, it must be uint8'
    elif image.ndim not in (2, 3) or channels != CHANNELS[encoding]:
        msg = f'the image has shape {image.shape}, {encoding} needs {CHANNELS[encoding]} channels'
    elif image.size == 0:
        msg = f'the image has shape {image.shape}, it holds no pixels'
    else:
        return
    raise PixelError(msg)


def rotated(pixels: NDArray[Any], degrees: int) -> NDArray[Any]:
    """Return (H, W) or (H, W, C) rotated clockwise by one of ``limits.ROTATIONS``."""
    return cv2.rotate(pixels, _ROTATE[degrees]) if degrees else pixels


def to_rgb(image: Pixels, encoding: str) -> Pixels:
    """Return an image as RGB (H, W, 3) uint8; rgb8 is not copied."""
    if encoding == 'rgb8':
        return image
    return np.asarray(cv2.cvtColor(image, _TO_RGB[encoding]), np.uint8)


def to_network(image: Pixels, encoding: str, height: int, width: int) -> Pixels:
    """Resize an image and return it as RGB (height, width, 3) uint8, C-contiguous."""
    if image.shape[:2] != (height, width):
        shrinks = image.shape[0] > height and image.shape[1] > width
        # averaging keeps thin things when a large image shrinks, bilinear would skip pixels
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, (width, height), interpolation=interpolation))
    # colours last: the network's size is the smaller one on most cameras
    return np.ascontiguousarray(to_rgb(image, encoding))
