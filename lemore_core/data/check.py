"""Check every file of a data set before a training, and count the pixels of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lemore_core.common.errors import LemoreError, first_few
from lemore_core.data.datasets import CLASSES
from lemore_core.data.samples import DataError, Sample
from lemore_core.taxonomy import UNLABELLED_8BIT

NAMED_AT_MOST = 20  # problems in an error


@dataclass
class CheckResult:
    """Findings of a check.

    ``sizes`` counts the readable images by (height, width). ``pixels`` and ``masks`` hold for each
    label the number of pixels and of masks that have it, (256,) int64. ``errors`` and ``warnings``
    are sentences that name the file.
    """

    sizes: Counter[tuple[int, ...]] = field(default_factory=Counter)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    masks: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check(samples: Sequence[Sample], label: str = '') -> CheckResult:
    """Read every image and mask and return the findings; a ``label`` shows a progress bar."""
    if not samples:
        msg = 'there are no samples to read'
        raise DataError(msg)
    result = CheckResult()
    with ThreadPool() as pool:  # decoders and NumPy release the interpreter lock
        found = pool.imap(_inspect, samples)
        bar = tqdm(found, label, len(samples), unit='image', disable=None if label else True)
        inspected = list(bar)
    for sample, (size, pixels, errors) in zip(samples, inspected, strict=True):
        result.errors += errors
        if size:
            result.sizes[size] += 1
        if pixels is None:
            continue
        result.pixels += pixels
        result.masks += pixels > 0
        if not pixels[: len(sample.taxonomy.classes)].any():
            result.warnings.append(f'{sample.mask} has no labelled pixel')
    classes = samples[0].taxonomy.classes
    absent = [name for name, count in zip(classes, result.masks, strict=False) if not count]
    if absent:
        result.warnings.append(f'no mask has the classes {", ".join(absent)}')
    return result


def require_sound(samples: Sequence[Sample], split: str, least: int = 2) -> list[str]:
    """Check samples and return warnings; raise DataError for errors, or too few classes there."""
    result = check(samples)
    if result.errors:
        msg = '; '.join(some(result.errors))
        raise DataError(msg)
    if msg := lack_of_classes(result, samples, split, least):
        raise DataError(msg)
    return [f'{split}: {warning}' for warning in some(result.warnings)]


def lack_of_classes(
    result: CheckResult, samples: Sequence[Sample], split: str, least: int = 2
) -> str:
    """Return an error if fewer classes than ``least`` have a pixel in a split, else ''."""
    names = samples[0].taxonomy.classes
    there = [name for name, number in zip(names, result.masks, strict=False) if number]
    if len(there) >= least or samples[0].soft:
        return ''
    return (
        f'{split} has pixels of {there[0] if there else "no class"} alone, and nothing can be '
        f'learned or measured: see the ids and "ignored" of {CLASSES}'
    )


def some(messages: Sequence[str]) -> list[str]:
    """Return the first messages, and the number of further ones."""
    return first_few(messages, NAMED_AT_MOST, '… and')


def _inspect(sample: Sample) -> tuple[tuple[int, ...], NDArray[np.int64] | None, list[str]]:
    """Return the size of the image, the pixels of each label in the mask, and the errors."""
    errors = [sample.missing] if sample.missing else []
    size: tuple[int, ...] = ()
    pixels = None
    try:
        if sample.image.is_file():
            size = sample.read_image().shape[:2]
    except LemoreError as error:
        errors.append(str(error))
    try:
        if sample.mask.is_file():
            mask = sample.read_mask()
            sample.read_soft()
            pixels = np.bincount(mask.ravel(), minlength=UNLABELLED_8BIT + 1)
            if size and (mismatch := sample.mismatch(size, mask.shape)):
                errors.append(mismatch)
    except LemoreError as error:
        errors.append(str(error))
    return size, pixels, errors
