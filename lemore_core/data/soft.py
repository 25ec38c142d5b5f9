"""Soft labels: the likeliest classes of each place and their probabilities, in NumPy files.

They are a teacher's, at a resolution of their own, and cover the whole image: (2, n, h, w) uint8,
n classes in the order of their probabilities, and these times 255, 0 for none of the classes.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import in_one_line
from lemore_core.common.files import atomic_write
from lemore_core.common.limits import MAX_PIXELS
from lemore_core.data.readers import DataError

SUFFIX = '.npz'
KEPT = 3  # classes of a place

SoftLabels = NDArray[np.uint8]


def soft_labels(probabilities: NDArray[np.float32]) -> SoftLabels:
    """Return soft labels (2, n, h, w) of probabilities (h, w, classes + 1), the last of no class."""
    known, none = probabilities[..., :-1], probabilities[..., -1:]
    classes = np.argsort(-known, -1, kind='stable')[..., :KEPT]
    values = np.take_along_axis(known, classes, -1)
    values = np.where(values[..., :1] < none, 0, values)
    both = np.stack([classes, np.rint(255 * values)]).astype(np.uint8)
    return np.ascontiguousarray(both.transpose(0, 3, 1, 2))


def write_soft(path: Path, soft: SoftLabels) -> None:
    """Write soft labels (2, n, h, w) uint8.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_write(path) as part:
        np.savez_compressed(part, classes=soft[0], probabilities=soft[1])


def read_soft(path: Path, classes: int) -> SoftLabels:
    """Return the soft labels (2, n, h, w) uint8 of a file, for a table of so many classes.

    Raises:
        DataError: the file is missing, damaged, too large or of other classes.
    """
    try:
        with zipfile.ZipFile(path) as file:
            if sum(entry.file_size for entry in file.infolist()) > MAX_PIXELS:
                msg = f'more than {MAX_PIXELS} bytes'
                raise DataError(msg)  # noqa: TRY301
        with np.load(path, allow_pickle=False) as arrays:
            soft = np.stack([arrays['classes'], arrays['probabilities']])
        if soft.dtype != np.uint8 or soft.ndim != 4 or not soft.size or soft[0].max() >= classes:
            msg = f'{soft.dtype} {soft.shape}, expected uint8 (2, n, h, w) of {classes} classes'
            raise DataError(msg)  # noqa: TRY301
    except Exception as error:  # damage shows in a dozen ways
        msg = f'{path} holds no soft labels: {in_one_line(error)}'
        raise DataError(msg) from error
    return np.asarray(soft, np.uint8)
