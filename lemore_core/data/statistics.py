"""How often each class occurs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lemore_core.data.errors import DataError
from lemore_core.data.parallel import for_each
from lemore_core.data.samples import Sample
from lemore_core.taxonomy import UNLABELLED_8BIT


def class_counts(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Return the pixels of each class in each mask, (samples, classes) int64.

    Raises:
        DataError: there are no samples, or a mask is unreadable.
    """
    if not samples:
        msg = 'there are no samples to count the classes of'
        raise DataError(msg)
    rows = for_each(lambda sample: count_labels(sample.read_mask()), samples)
    classes = len(samples[0].taxonomy.classes)
    return np.stack([row[:classes] for row in rows])


def count_labels(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many pixels of a mask hold each label, (256,) int64."""
    return np.bincount(mask.ravel(), minlength=UNLABELLED_8BIT + 1)
