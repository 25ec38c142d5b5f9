"""Count the pixels of each class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lemore_core.data.samples import DataError, Sample
from lemore_core.taxonomy import UNLABELLED_8BIT

Result = TypeVar('Result')


def for_each(
    function: Callable[[Sample], Result], samples: Sequence[Sample], label: str = ''
) -> Iterator[Result]:
    """Yield the results of ``function`` in the order of the samples, computed by a thread per core.

    With a ``label`` a terminal shows a progress bar.
    """
    with ThreadPool() as pool:  # decoders and NumPy release the interpreter lock
        found = pool.imap(function, samples)
        yield from tqdm(found, label, len(samples), unit='image', disable=None if label else True)


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
    """Return the number of pixels of each label in a mask, (256,) int64."""
    return np.bincount(mask.ravel(), minlength=UNLABELLED_8BIT + 1)
