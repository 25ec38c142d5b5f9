"""Checks every file of a data set before a training depends on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lemore_core.data.datasets import missing
from lemore_core.data.drives import image_hash
from lemore_core.data.errors import DataError
from lemore_core.data.parallel import OnProgress, for_each
from lemore_core.data.samples import Sample
from lemore_core.data.statistics import count_labels
from lemore_core.taxonomy import Taxonomy

NAMED_AT_MOST = 20  # problems in an error

Size = tuple[int, int]


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    ``sizes`` counts the readable images by (height, width). ``pixels`` and ``images`` hold for
    each class how many pixels and how many masks have it, (classes,) int64. ``errors`` and
    ``warnings`` are sentences that name the file. ``hashes`` are those of the images (see
    :func:`~lemore_core.data.drives.image_hash`), None for an unreadable one.
    """

    taxonomy: Taxonomy
    samples: int
    sizes: Counter[Size]
    pixels: NDArray[np.int64]
    images: NDArray[np.int64]
    unlabelled: int
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    hashes: tuple[int | None, ...]

    @property
    def total_pixels(self) -> int:
        """How many pixels all readable masks have."""
        return int(self.pixels.sum()) + self.unlabelled


def check(
    samples: Sequence[Sample], on_progress: OnProgress | None = None, workers: int | None = None
) -> CheckResult:
    """Read every image and mask and return what was found.

    ``on_progress`` is called with 1 for each sample done.

    Raises:
        DataError: there are no samples.
    """
    if not samples:
        msg = 'there are no samples to check'
        raise DataError(msg)
    return _summary(samples[0].taxonomy, for_each(_inspect, samples, on_progress, workers))


def require_sound(samples: Sequence[Sample]) -> None:
    """Refuse samples of which any has an error.

    Raises:
        DataError: there are none, or a file is not what it must be; the first are named.
    """
    errors = check(samples).errors
    if errors:
        msg = '; '.join(some(errors))
        raise DataError(msg)


def some(messages: Sequence[str]) -> list[str]:
    """Return the first of many messages, and how many more there are."""
    more = len(messages) - NAMED_AT_MOST
    return [*messages[:NAMED_AT_MOST], *([f'… and {more} more'] if more > 0 else [])]


@dataclass
class _Findings:
    """What is known of one sample; ``labels`` are its pixels by label, (256,) int64."""

    size: Size | None = None
    hash: int | None = None
    labels: NDArray[np.int64] | None = None
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _inspect(sample: Sample) -> _Findings:
    found = _Findings()
    gone = missing(sample)
    if gone:
        found.errors.append(gone)
    for path, inspect in ((sample.image, _inspect_image), (sample.mask, _inspect_mask)):
        if not path.is_file():
            continue
        with _collecting(found):
            inspect(sample, found)
    return found


@contextmanager
def _collecting(found: _Findings) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        found.errors.append(str(error))


def _inspect_image(sample: Sample, found: _Findings) -> None:
    image = sample.read_image()
    found.size = (image.shape[0], image.shape[1])
    found.hash = image_hash(image)


def _inspect_mask(sample: Sample, found: _Findings) -> None:
    mask = sample.read_mask()
    found.labels = count_labels(mask)
    if found.size is not None and found.size != mask.shape:
        found.errors.append(
            f'{sample.mask} is {_size(mask.shape)} pixels, its image {_size(found.size)}'
        )
    if not found.labels[: len(sample.taxonomy.classes)].any():
        found.warnings.append(f'{sample.mask} has no labelled pixel')


def _size(shape: Sequence[int]) -> str:
    height, width = shape
    return f'{width}x{height}'


def _summary(taxonomy: Taxonomy, findings: Iterable[_Findings]) -> CheckResult:
    classes = len(taxonomy.classes)
    samples, unlabelled, sizes = 0, 0, Counter[Size]()
    pixels, images = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    errors: list[str] = []
    warnings: list[str] = []
    hashes: list[int | None] = []
    for found in findings:
        samples += 1
        errors += found.errors
        warnings += found.warnings
        hashes.append(found.hash)
        if found.size is not None:
            sizes[found.size] += 1
        if found.labels is not None:
            pixels += found.labels[:classes]
            images += found.labels[:classes] > 0
            unlabelled += int(found.labels[taxonomy.unlabelled])
    absent = [name for name, count in zip(taxonomy.classes, images, strict=True) if not count]
    if absent:
        warnings.append(f'no mask has the classes {", ".join(absent)}')
    return CheckResult(
        taxonomy,
        samples,
        sizes,
        pixels,
        images,
        unlabelled,
        tuple(errors),
        tuple(warnings),
        tuple(hashes),
    )
