"""Label images by a teacher: the mean of several views, as masks and as soft labels."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError, in_one_line
from lemore_core.data.soft import SoftLabels, soft_labels
from lemore_core.evaluation.strategies import (
    AveragedViews,
    Prediction,
    Predictor,
    Views,
    merging,
    softmax,
    upsample,
)
from lemore_core.export.model_card import read_model_card
from lemore_core.images.image import to_network
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import UNLABELLED_8BIT, ClassGroups, load_groups

LONGEST_SIDE = 1024  # pixels: probabilities of every class at every pixel take much memory
STRIDE = 32  # of network sizes: many networks take no other sides
ASPECT = 4 / 3  # of the area of images that are not that wide
WIDE = 1.2
SOFT_STRIDE = 4  # pixels of the smallest view to a soft label
MOST_OF_ONE = 0.99  # of the labelled pixels: more of one class teaches nothing
LEAST_LABELLED = 0.05  # of all pixels
FATAL = 4  # ONNX Runtime's level


class TeacherError(LemoreError):
    """A teacher that cannot label images at the sizes asked for, or whose labels teach nothing."""


class Teacher:
    """A network that labels images, in groups of its classes where given.

    ``sizes`` are the widths in pixels to which a whole image is resized, see :func:`view_size`.
    Without any, ``scales`` divide an image into windows, for a file of one size. ``flip`` adds the
    mirror image of every view; pixels of which it is less sure than ``min_probability`` get no
    label.

    Raises:
        LemoreError: the file cannot be read, the groups do not fit, or there are too many classes.
    """

    def __init__(
        self,
        path: Path,
        *,
        classes: str = '',
        sizes: tuple[int, ...] = (),
        scales: tuple[float, ...] = (1.0, 1.5),
        flip: bool = True,
        min_probability: float = 0.5,
    ) -> None:
        self.path, self.card = path, read_model_card(path)
        self.taxonomy = self.card.taxonomy.of_labels
        self._merging = np.eye(len(self.taxonomy.classes) + 1, dtype=np.float32)[:-1]
        if classes:
            groups = load_groups(classes, self.card.taxonomy)
            self.taxonomy, self._merging = groups.taxonomy.of_labels, merging(groups)
        number = len(self.taxonomy.classes)
        if number >= UNLABELLED_8BIT:
            msg = f'{number} classes are too many to train on: merge them into at most 254'
            raise TeacherError(msg)
        self.sizes, self.scales, self.flip = tuple(sorted(sizes)), scales, flip
        self.min_probability = min_probability

    @cached_property
    def segmenter(self) -> Segmenter:
        """The network as it is served."""
        return Segmenter.load(self.path)

    @cached_property
    def record(self) -> Mapping[str, str]:
        """Name, SHA-256 and licence for the cards of its students."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return {'name': self.path.name, 'sha256': digest, 'licence': self.card.licence}

    @property
    def digest(self) -> str:
        """A hash of everything that labels follow from."""
        options = [self.sizes, self.scales, self.flip, self.min_probability]
        merged = self._merging.argmax(1).tolist()
        values = [self.record['sha256'], options, self.taxonomy.to_dict(), merged]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()

    def label(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], SoftLabels]:
        """Return class ids (H, W) uint8 of RGB (H, W, 3) uint8, and soft labels (2, n, h, w) uint8.

        Doubtful pixels are 255; soft labels have all places whose likeliest is a class.
        """
        coarse, probabilities = self._probabilities(image)
        labels = probabilities.argmax(-1)
        doubtful = probabilities.max(-1) < self.min_probability
        unknown = doubtful | (labels == len(self.taxonomy.classes))
        mask = np.where(unknown, UNLABELLED_8BIT, labels).astype(np.uint8)
        return at_size(mask, image), soft_labels(coarse)

    def predictor(self, groups: ClassGroups | None = None) -> Predictor:
        """Return what predicts as this teacher labels, in ``groups`` of its classes where given."""
        return _TeacherPredictor(self, groups)

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the mean probabilities (h, w, classes) of RGB (H, W, 3) uint8, up to 1024 pixels."""
        return self._probabilities(image)[1][..., :-1]

    def _probabilities(
        self, image: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return probabilities (h, w, classes + 1) at the size of soft labels, and at the image's."""
        height, width = image.shape[:2]
        longest = max(height, width)
        size = [max(1, side * min(longest, LONGEST_SIDE) // longest) for side in (height, width)]
        if self.sizes:
            coarse = self._at_sizes(image) @ self._merging
            return coarse, upsample(coarse, *size)
        small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        probabilities = self._at_scales(np.asarray(small, np.uint8)) @ self._merging
        grid = [math.ceil(side / SOFT_STRIDE) for side in size]
        return upsample(probabilities, *grid), probabilities

    def largest_view(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits (h, w, classes) of the largest view of RGB (H, W, 3) uint8."""
        if self.sizes:
            return self._logits(image, view_size(self.sizes[-1], image.shape[:2])[0])
        return self.segmenter.logits(image)

    def require_use(self, counts: NDArray[np.int64]) -> None:
        """Refuse labels, counted by class id (256,), of nearly one class or none."""
        known = counts[:UNLABELLED_8BIT]
        total, most = int(known.sum()), int(known.argmax())
        if total < LEAST_LABELLED * counts.sum():
            msg = (
                f'the teacher {self.path} is sure of {total / counts.sum():.1%} of the pixels at '
                f'min_probability {self.min_probability}: these images are not what it was '
                'trained on, or --min-probability is too high'
            )
            raise TeacherError(msg)
        if known[most] > MOST_OF_ONE * total:
            msg = (
                f'the teacher {self.path} calls {known[most] / total:.1%} of the pixels '
                f'{self.taxonomy.classes[most]!r}, which teaches nothing: look at its labels with '
                'lemore predict, and at --mean, --std and classes of lemore import'
            )
            raise TeacherError(msg)

    def _at_sizes(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the mean over sizes and mirror images, (h, w, classes) at the soft labels' size."""
        _, grid = view_size(self.sizes[0], image.shape[:2])
        views = []
        for width in self.sizes:
            size, _ = view_size(width, image.shape[:2])
            views.append(softmax(upsample(self._logits(image, size), *grid)))
            if self.flip:
                mirrored = self._logits(np.ascontiguousarray(image[:, ::-1]), size)[:, ::-1]
                views.append(softmax(upsample(np.ascontiguousarray(mirrored), *grid)))
        return np.asarray(sum(views[1:], start=views[0]) / np.float32(len(views)))

    def _at_scales(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the mean over scales and mirror images, (H, W, classes)."""
        height, width = image.shape[:2]
        views = []
        for scale in self.scales:
            # windows, since a teacher's file may have but one size
            window = (math.ceil(height / scale), math.ceil(width / scale)) if scale > 1 else None
            views_at = Views(window=window, flip=self.flip)
            views.append(AveragedViews(self.segmenter, views_at).probabilities(image))
        return np.asarray(sum(views[1:], start=views[0]) / np.float32(len(views)))

    def _logits(self, image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
        if self.path.suffix == '.onnx':
            return self._any_size(to_network(image, 'rgb8', *size))
        return self.segmenter.logits(image, network_size=size)

    def _any_size(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits (h, w, classes) of an imported file for RGB (height, width, 3) uint8."""
        try:
            logits: NDArray[np.float32] = self._open.run(None, {'pixels': pixels[None]})[0][0]
        except Exception as error:  # the runtime's exceptions share no base
            own = f'{self.card.config.width}x{self.card.config.height}'
            msg = (
                f'{self.path} cannot label images at {pixels.shape[1]}x{pixels.shape[0]}: leave '
                f'--sizes out for a file that takes {own} alone ({in_one_line(error)})'
            )
            raise TeacherError(msg) from error
        return logits

    @cached_property
    def _open(self) -> Any:
        """The imported file with open sides: imports fix them, the network inside may not."""
        import onnx
        import onnxruntime

        model = onnx.load(self.path)
        for port in (*model.graph.input, *model.graph.output):
            for name, side in zip('hw', port.type.tensor_type.shape.dim[1:3], strict=True):
                side.dim_param = f'{port.name}_{name}'
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL  # errors are raised as well
        providers = onnxruntime.get_available_providers()
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers)


class _TeacherPredictor:
    """A teacher as what is evaluated: every pixel gets a class."""

    def __init__(self, teacher: Teacher, groups: ClassGroups | None) -> None:
        self.taxonomy = groups.taxonomy if groups else teacher.taxonomy
        self._teacher = teacher
        self._merging = merging(groups)[:, :-1] if groups else None

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an RGB image (H, W, 3) uint8."""
        values = self._teacher.probabilities(image)
        if self._merging is not None:
            values = values @ self._merging
        labels = at_size(values.argmax(-1).astype(np.uint8), image)
        return Prediction(labels, at_size(np.rint(255 * values.max(-1)).astype(np.uint8), image))


def at_size(layer: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a layer (h, w) at the size of an image (H, W, 3), by nearest neighbour."""
    size = image.shape[1], image.shape[0]
    return np.asarray(cv2.resize(layer, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def view_size(width: int, image: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the network size of a view ``width`` pixels wide, and the size of its soft labels.

    An image (height, width) that is not wide is seen in the area of a 4:3 image of that width.
    """
    height, wide = image[:2]
    factor = width / wide
    if wide < WIDE * height:
        factor = math.sqrt(width * width / ASPECT / (height * wide))
    network = [max(STRIDE, STRIDE * round(side * factor / STRIDE)) for side in (height, wide)]
    grid = [max(1, round(side * factor / SOFT_STRIDE)) for side in (height, wide)]
    return (network[0], network[1]), (grid[0], grid[1])
