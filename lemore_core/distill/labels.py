"""The teacher's labels: the mean of several views, with doubtful pixels left out, kept on disk."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.validation import check_fields, option
from lemore_core.data.readers import read_ids
from lemore_core.data.statistics import count_labels
from lemore_core.distill.errors import DistillError
from lemore_core.evaluation.strategies import AveragedViews, Views
from lemore_core.images.files import read_bytes, read_image
from lemore_core.images.palettes import write_labels
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import UNLABELLED_8BIT, ClassGroups, Labels, Taxonomy

MOST_OF_ONE = 0.99  # of the labelled pixels: more of one class teaches nothing
LEAST_LABELLED = 0.05  # of all pixels
LONGEST_SIDE = 1024  # pixels, at which images are labelled
JUDGED_EARLY = 20  # images after which a useless teacher is refused, and not after all of them


@dataclass(frozen=True)
class LabelOptions:
    """How the teacher sees an image, and when its word counts.

    Raises:
        DistillError: a value is out of bounds.
    """

    scales: tuple[float, ...] = option((1.0, 1.5), 'of the image, 1 and more', low=1, high=4)
    flip: bool = option(True, 'add the mirror image of every view')
    min_probability: float = option(
        0.5, 'pixels of which the teacher is less certain get no label', low=0, high=1
    )

    def __post_init__(self) -> None:
        check_fields(self, DistillError)


class TeacherLabels:
    """Labels images by the teacher; what was labelled before is read from the folder ``cache``.

    A label image is found by the hash of the image file, of the teacher's file, of the classes and
    of the options: whatever changes, nothing stale is used.
    """

    def __init__(
        self,
        teacher: Segmenter,
        cache: Path,
        options: LabelOptions,
        groups: ClassGroups | None = None,
    ) -> None:
        self.taxonomy = (groups.taxonomy if groups else teacher.taxonomy).of_labels
        self._teacher = teacher
        self._cache = cache
        self._options = options
        self._merging = _merging(teacher.taxonomy, groups)
        settings = [asdict(options), self.taxonomy.to_dict(), self._merging.tolist()]
        self._settings = hashlib.sha256(
            teacher.path.read_bytes() + json.dumps(settings).encode()
        ).digest()

    def label(self, image: Path) -> Path:
        """Return the label image of an image file: class ids, 255 where the teacher doubts.

        Raises:
            ImageFileError: the image is unreadable.
            OSError: the label image cannot be written.
        """
        name = hashlib.sha256(self._settings + read_bytes(image)).hexdigest()[:32]
        path = self._cache / f'{name}.png'
        if not path.is_file():
            write_labels(path, self._labels(read_image(image)), self.taxonomy)
        return path

    def label_all(
        self, images: Sequence[Path], on_image: Callable[[int], object] = lambda _: None
    ) -> list[Path]:
        """Label images one after another; ``on_image`` is called with 1 after each.

        Raises:
            DistillError: nothing is to be learned from the labels: one class, or none.
            LemoreError: see :meth:`label`.
        """
        paths = []
        counts = np.zeros(UNLABELLED_8BIT + 1, np.int64)
        for number, image in enumerate(images, 1):
            paths.append(self.label(image))
            counts += count_labels(read_ids(paths[-1], self.taxonomy).astype(np.uint8))
            on_image(1)
            if number in (JUDGED_EARLY, len(images)):
                self._require_use(counts)
        return paths

    def _labels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the labels of RGB (H, W, 3) uint8."""
        height, width = image.shape[:2]
        if max(height, width) > LONGEST_SIDE:
            # the probabilities of every class at every pixel of a large image would fill the memory
            size = [max(1, side * LONGEST_SIDE // max(height, width)) for side in (width, height)]
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            labels = self._labels(np.asarray(small, np.uint8))
            large = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
            return np.asarray(large, np.uint8)
        views = [self._views(image, scale).probabilities(image) for scale in self._options.scales]
        merged = sum(views[1:], start=views[0]) / np.float32(len(views)) @ self._merging
        labels = merged.argmax(-1)
        doubtful = merged.max(-1) < self._options.min_probability
        # the last column is that of classes in no group
        unknown = doubtful | (labels == len(self.taxonomy.classes))
        return np.where(unknown, UNLABELLED_8BIT, labels).astype(np.uint8)

    def _views(self, image: NDArray[np.uint8], scale: float) -> AveragedViews:
        """Return the views at a scale: windows, since a teacher's file may have but one size."""
        height, width = image.shape[:2]
        window = (math.ceil(height / scale), math.ceil(width / scale)) if scale > 1 else None
        return AveragedViews(self._teacher, Views(window=window, flip=self._options.flip))

    def _require_use(self, counts: NDArray[np.int64]) -> None:
        known = counts[:UNLABELLED_8BIT]
        total = int(known.sum())
        if total < LEAST_LABELLED * counts.sum():
            msg = (
                f'the teacher {self._teacher.path} is sure of {total / counts.sum():.1%} of the '
                f'pixels at min_probability {self._options.min_probability}: these images are not '
                'what it was trained on, or --min-probability is too high'
            )
            raise DistillError(msg)
        if known.max() > MOST_OF_ONE * total:
            name = self.taxonomy.classes[int(known.argmax())]
            msg = (
                f'the teacher {self._teacher.path} calls {known.max() / total:.1%} of the pixels '
                f'{name!r}, nothing is to be learned from that: look at what lemore predict '
                '--model shows, and at the --mean, --std and classes of its lemore import'
            )
            raise DistillError(msg)


def _merging(taxonomy: Taxonomy, groups: ClassGroups | None) -> NDArray[np.float32]:
    """Return (classes, groups + 1): 1 where a class is of a group, the last for those of none."""
    labels: Labels = np.arange(len(taxonomy.classes), dtype=np.uint16)
    if groups is not None:
        labels = groups.apply(labels)
    number = len(groups.groups if groups else taxonomy.classes)
    if number >= UNLABELLED_8BIT:
        msg = f'{number} classes are too many to train on: merge them into at most 254'
        raise DistillError(msg)
    merging: NDArray[np.float32] = np.eye(number + 1, dtype=np.float32)
    return merging[np.minimum(labels, number)]
