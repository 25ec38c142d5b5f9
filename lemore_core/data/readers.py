"""Mask files as class ids, one function for each way to write them.

A reader takes the path and the taxonomy and returns (H, W) class ids. It raises
:class:`DataError` for a file that it cannot read, :class:`TaxonomyError` for unknown ids.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.data.errors import DataError
from lemore_core.data.pixels import Pixels, read_pixels
from lemore_core.taxonomy import Labels, Taxonomy


def read_ids(path: Path, taxonomy: Taxonomy) -> Labels:
    """Read a one-channel image of the data set's ids; with a palette, the indices are the ids."""
    return taxonomy.encode(_one_channel(path, read_pixels(path)))


def read_labels(path: Path, taxonomy: Taxonomy) -> Labels:
    """Read a one-channel image that already holds class ids, 255 for unlabelled."""
    return taxonomy.of_labels.encode(_one_channel(path, read_pixels(path)))


def read_ids_or_colors(path: Path, taxonomy: Taxonomy) -> Labels:
    """Read an image of ids, or an RGB image in the taxonomy's colours.

    A palette whose colours are the taxonomy's must give each class's colour to its id: a program
    that shrank a colour mask to a palette numbers the colours as it likes.
    """
    pixels = read_pixels(path)
    if pixels.values.ndim == 3:
        return taxonomy.encode_colors(pixels.values)
    mask = _one_channel(path, pixels)
    if pixels.palette is not None and _numbers_colors_otherwise(mask, pixels.palette, taxonomy):
        msg = (
            f'{path} has a palette of the classes of {taxonomy.name!r}, but its indices are those '
            'of others: save it as RGB, or as grey values that are the ids'
        )
        raise DataError(msg)
    return taxonomy.encode(mask)


def _one_channel(path: Path, pixels: Pixels) -> NDArray[np.integer[Any]]:
    values = pixels.values
    if values.ndim != 2 or values.dtype.kind not in 'iu':
        msg = f'{path} is no one-channel label image'
        raise DataError(msg)
    return values


def _numbers_colors_otherwise(
    mask: NDArray[np.integer[Any]], palette: NDArray[np.uint8], taxonomy: Taxonomy
) -> bool:
    used = [index for index in np.unique(mask).tolist() if index < len(palette)]
    colors = [tuple(palette[index].tolist()) for index in used]
    if not set(colors) <= set(taxonomy.colors):
        return False
    return any(
        index not in taxonomy.disk_ids[taxonomy.colors.index(color)]
        for index, color in zip(used, colors, strict=True)
    )
