"""Label images in messages: class ids as bytes or 16-bit numbers, raw or as PNG."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.images.files import NUMBERS, PNG, ImageFileError, decode_image
from lemore_core.taxonomy import Labels, Taxonomy, TaxonomyError
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.reader import Record
from lemore_ros.messages.encodings import ImageError, rows_of

BYTES = {'mono8': 1, '8UC1': 1, '16UC1': 2, 'mono16': 2}


def read_labels(record: Record, message: Any, taxonomy: Taxonomy) -> Labels:
    """Return the class ids of a label message, (H, W) in the type that ``taxonomy`` gives labels.

    255, and 65535 in 16 bits, become the taxonomy's own value for unlabelled.

    Raises:
        BagError: the message is no label image, or holds ids that are no class's.
    """
    try:
        ids = _png(message) if record.topic.is_compressed else _raw(message)
        return _known(ids, taxonomy)
    except (ImageError, TaxonomyError) as error:
        msg = f'{record.topic.name} holds no labels of {taxonomy.name!r}: {error}'
        raise BagError(msg) from error


def read_confidence(record: Record, message: Any) -> NDArray[np.uint8]:
    """Return the confidences of a message, (H, W) uint8, 255 for certain.

    Raises:
        BagError: the message is no mono8 image.
    """
    try:
        values = _png(message) if record.topic.is_compressed else _raw(message)
    except ImageError as error:
        msg = f'{record.topic.name} holds no confidences: {error}'
        raise BagError(msg) from error
    if values.dtype != np.uint8:
        msg = f'{record.topic.name} holds {values.dtype} numbers, confidences are mono8'
        raise BagError(msg)
    return np.ascontiguousarray(values)


def _known(ids: NDArray[Any], taxonomy: Taxonomy) -> Labels:
    unlabelled = ids == np.iinfo(ids.dtype).max
    if ids.dtype == taxonomy.label_dtype and ids[~unlabelled].max(initial=0) < len(
        taxonomy.classes
    ):
        return np.ascontiguousarray(ids)
    return taxonomy.of_labels.encode(np.where(unlabelled, taxonomy.unlabelled, ids))


def _raw(message: Any) -> NDArray[Any]:
    size = BYTES.get(message.encoding)
    if size is None:
        msg = f'encoding {message.encoding!r} is none of {", ".join(BYTES)}'
        raise ImageError(msg)
    rows = rows_of(message, size)
    if size == 1:
        return rows
    order = '>u2' if message.is_bigendian else '<u2'
    return np.ascontiguousarray(rows).view(order).astype(np.uint16, copy=False)


def _png(message: Any) -> NDArray[Any]:
    try:
        pixels = decode_image(bytes(message.data), NUMBERS, kinds=(PNG,))
    except ImageFileError as error:
        msg = f'format {message.format!r}: {error}; formats other than png change class ids'
        raise ImageError(msg) from error
    if pixels.ndim != 2:
        msg = f'the png has shape {pixels.shape}, labels have one channel'
        raise ImageError(msg)
    return pixels
