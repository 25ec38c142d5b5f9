"""Read mask files as class ids.

A reader takes a path and a taxonomy and returns class ids (H, W). It raises :class:`DataError` for
an unreadable file and :class:`TaxonomyError` for unknown ids.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lemore_core.common.errors import LemoreError, in_one_line
from lemore_core.common.limits import MAX_PIXELS
from lemore_core.taxonomy import Labels, Taxonomy

FORMATS = ('PNG', 'BMP', 'TIFF')
INDEXED, GREY = ('P', 'PA'), ('1', 'L', 'LA')


class DataError(LemoreError):
    """A data set with missing folders, images or masks, or with unreadable ones."""


def read_ids(path: Path, taxonomy: Taxonomy) -> Labels:
    """Read a one-channel image of dataset ids; of an image with a palette, the indices."""
    return taxonomy.encode(_one_channel(path, _read_mask(path)[0]))


def read_labels(path: Path, taxonomy: Taxonomy) -> Labels:
    """Read a one-channel image of class ids, 255 for unlabelled."""
    return taxonomy.of_labels.encode(_one_channel(path, _read_mask(path)[0]))


def read_ids_or_colors(path: Path, taxonomy: Taxonomy) -> Labels:
    """Read an image of dataset ids, or an RGB image in the taxonomy's colours.

    A palette of the taxonomy's colours must give each colour the id of its class: a program that
    reduces a colour mask to a palette numbers the colours in its own order.
    """
    values, palette = _read_mask(path)
    if values.ndim == 3:
        return taxonomy.encode_colors(values)
    mask = _one_channel(path, values)
    if palette is not None and _renumbers(mask, palette, taxonomy):
        msg = (
            f'{path} has a palette of the classes of {taxonomy.name!r}, but its indices are those '
            'of others: save it as RGB, or as grey values that are the ids'
        )
        raise DataError(msg)
    return taxonomy.encode(mask)


def _read_mask(path: Path) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Return numbers (H, W) or RGB (H, W, 3), and the palette (n, 3) of indexed numbers."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                msg = f'{image.width}x{image.height} pixels, allowed: up to {MAX_PIXELS}'
                raise DataError(msg)  # noqa: TRY301
            if image.mode in INDEXED:
                palette = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
                return np.asarray(image.getchannel('P') if image.mode == 'PA' else image), palette
            if image.mode in GREY:
                return np.asarray(image.convert('L')), None
            return np.asarray(image.convert('RGB') if image.mode == 'RGBA' else image), None
    except Exception as error:  # damage shows in a dozen ways
        msg = f'{path} is no readable image: {in_one_line(error)}'
        raise DataError(msg) from error


def _one_channel(path: Path, values: NDArray[Any]) -> NDArray[np.integer[Any]]:
    if values.ndim != 2 or values.dtype.kind not in 'iu':
        msg = f'{path} is no one-channel label image'
        raise DataError(msg)
    return values


def _renumbers(
    mask: NDArray[np.integer[Any]], palette: NDArray[np.uint8], taxonomy: Taxonomy
) -> bool:
    """Return whether a palette gives the taxonomy's colours to ids of other classes."""
    used = [index for index in np.unique(mask).tolist() if index < len(palette)]
    colors = [tuple(palette[index].tolist()) for index in used]
    return set(colors) <= set(taxonomy.colors) and any(
        index not in taxonomy.disk_ids[taxonomy.colors.index(color)]
        for index, color in zip(used, colors, strict=True)
    )
