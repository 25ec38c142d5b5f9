"""Decode compressed image messages, and encode labels and overlays.

The format field is read and written as ``compressed_image_transport`` does: ``jpeg``, ``png``, or
``<encoding of the raw image>; jpeg compressed <channel order given to the encoder>``.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.limits import MAX_PIXELS
from lemore_core.images.files import AS_TAKEN, JPEG, PNG, ImageFileError, decode_image
from lemore_core.images.image import Image
from lemore_ros.messages.images import ImageError, refuse_depth, require_outgoing

CODECS = ('jpeg', 'jpg', 'png')
# labels are long runs of one value: this strategy is both the fastest and the smallest for them
PNG_FLAGS = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
)
JPEG_QUALITY = 85


def read_compressed(message: Any, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode a ``sensor_msgs/CompressedImage`` of JPEG or PNG to an image of bgr8 or mono8.

    It is rgb8 where the format field says that the encoder took RGB for BGR. Channels of 16 bits
    become 8, transparency is dropped, and Exif rotation is ignored, because the camera info
    describes the stored pixels.

    Raises:
        ImageError: the format is not supported or that of a depth image, the image has more than
            ``max_pixels``, or the data are cut short or damaged.
    """
    order = _channel_order(message.format)
    try:
        pixels = decode_image(
            bytes(message.data), AS_TAKEN, order='BGR', kinds=(JPEG, PNG), max_pixels=max_pixels
        )
    except ImageFileError as error:
        msg = f'the data, of format {message.format!r}, are not read: {error}'
        raise ImageError(msg) from error
    encoding = 'mono8' if pixels.ndim == 2 else order
    return Image(pixels, encoding, message.header)


def compressed_fields(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], encoding: str, *, form: str
) -> dict[str, Any]:
    """Return the fields of a ``sensor_msgs/CompressedImage``, except its header.

    ``pixels`` is as for :func:`~lemore_ros.messages.images.image_fields`. ``form`` is ``png``
    (lossless) or, for rgb8 alone, ``jpeg``; ``data`` is (bytes,) uint8.
    """
    require_outgoing(pixels, encoding)
    if form not in {'png', 'jpeg'}:
        msg = f'form {form!r} is not written, allowed: png, jpeg'
        raise ImageError(msg)
    if form == 'jpeg' and encoding != 'rgb8':
        msg = f'{encoding} is not written as jpeg, which changes class ids: use png'
        raise ImageError(msg)
    flags = PNG_FLAGS if form == 'png' else (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    order = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    _, encoded = cv2.imencode(f'.{form}', np.ascontiguousarray(order), flags)
    return {
        'format': f'{encoding}; {form} compressed {"bgr8" if encoding == "rgb8" else ""}',
        'data': np.ascontiguousarray(encoded, np.uint8).reshape(-1),
    }


def _channel_order(form: str) -> str:
    """Return the order in which colours are decoded, bgr8 or rgb8; refuse other formats."""
    raw, semicolon, packed = form.partition(';')
    words = (packed if semicolon else raw).split()
    codec = words[0] if words else ''
    # some drivers leave the field empty; the data tell then
    if codec.lower() not in CODECS and form.strip():
        hint = ', that is a depth image' if codec == 'compressedDepth' else ''
        msg = f'format {form!r} is not read{hint}, allowed: jpeg, png'
        raise ImageError(msg)
    refuse_depth(raw.strip())
    return 'rgb8' if 'compressed rgb' in packed else 'bgr8'
