"""Image messages to images and back; channels of 8 bits are not copied on the way in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.limits import MAX_PIXELS
from lemore_core.images.image import Image
from lemore_ros.messages.conversion import convert
from lemore_ros.messages.encodings import (
    CONVERTED,
    OUTGOING,
    VIEWED,
    ImageError,
    refuse_depth,
    require_outgoing,
    rows_of,
)

__all__ = ['ImageError', 'image_fields', 'read_image']


def read_image(message: Any, max_pixels: int = MAX_PIXELS) -> Image:
    """View a ``sensor_msgs/Image`` (rclpy's, or any object with its fields) as an image.

    Encodings of 8-bit channels are views into the message's own memory, their rows may be padded.
    Bayer mosaics and YUV (BT.601) become bgr8, channels of 16 bits their upper 8.

    Raises:
        ImageError: the image is empty or too large, its encoding is not read, ``step`` or ``data`` are too
            short for its size, or YUV has an odd side.
    """
    refuse_depth(message.encoding)
    if message.height * message.width > max_pixels:
        size = f'{message.width}x{message.height}'
        msg = f'the image has {size} pixels, allowed: up to {max_pixels} (max_pixels)'
        raise ImageError(msg)
    if message.encoding in CONVERTED:
        return Image(*convert(message), message.header)
    if message.encoding not in VIEWED:
        allowed = ', '.join([*VIEWED, *CONVERTED])
        msg = f'encoding {message.encoding!r} is not read, allowed: {allowed}'
        raise ImageError(msg)
    encoding, channels = VIEWED[message.encoding]
    pixels = rows_of(message, channels)
    if channels > 1:
        pixels = pixels.reshape(len(pixels), message.width, channels)
    return Image(pixels, encoding, message.header)


def image_fields(pixels: NDArray[np.uint8] | NDArray[np.uint16], encoding: str) -> dict[str, Any]:
    """Return the fields of a ``sensor_msgs/Image`` with unpadded rows, but for its header.

    ``pixels`` is (H, W) uint8 for mono8, (H, W) uint16 for 16UC1, (H, W, 3) uint8 for rgb8;
    ``data`` is (bytes,) uint8.

    Raises:
        ImageError: ``pixels`` is not what ``encoding`` says, or the encoding is another.
    """
    require_outgoing(pixels, encoding)
    raw = np.ascontiguousarray(pixels, OUTGOING[encoding][0])
    return {
        'height': raw.shape[0],
        'width': raw.shape[1],
        'encoding': encoding,
        'is_bigendian': 0,
        'step': raw.strides[0],
        'data': raw.view(np.uint8).reshape(-1),
    }
