"""Label images by a teacher: the mean of several views, as masks and as soft labels."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.checkpoint import ModelCard
from lemore_core.common.errors import LemoreError, refusing
from lemore_core.common.files import hash_of
from lemore_core.common.validation import check_fields, option
from lemore_core.data.origin import TeacherRecord
from lemore_core.data.samples import SoftLabels, soft_labels
from lemore_core.evaluation.strategies import mean_of_views, merging, upsample
from lemore_core.export.onnx_file import read_model_card
from lemore_core.export.session import FATAL
from lemore_core.images.image import Pixels, to_network
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import UNLABELLED_8BIT, Taxonomy, load_groups

LONGEST_SIDE = 1024  # pixels: probabilities of every class at every pixel take much memory
STRIDE = 32  # of network sizes: many networks take no other sides
ASPECT, WIDE = 4 / 3, 1.2  # less wide images are seen in the area of one of this aspect
SOFT_STRIDE = 4  # pixels of the smallest view to a soft label
MOST_OF_ONE = 0.99  # of the labelled pixels: more of one class teaches nothing
LEAST_LABELLED = 0.05  # of all pixels

Size = tuple[int, int]  # height, width


class TeacherError(LemoreError):
    """A teacher that cannot label images at the given sizes, or whose labels teach nothing."""


@dataclass(eq=False)
class Teacher:
    """A network that labels images, in groups of its classes where given.

    It sees a whole image at each of ``sizes``, see :func:`view_size`; without any, at the size that
    it was trained or exported for.
    """

    path: Path
    class_groups: str = ''
    sizes: tuple[int, ...] = option((), 'widths of the views in pixels', low=32, high=8192)
    flip: bool = option(True, 'add the mirror image of every view')
    min_probability: float = option(0.5, 'less certain pixels get no label', low=0, high=1)
    card: ModelCard = field(init=False)
    taxonomy: Taxonomy = field(init=False)
    # (classes, groups + 1): 1 where a class is of a group, the last column for those of none
    merging: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        check_fields(self, TeacherError)
        self.card = read_model_card(self.path)
        self.taxonomy = self.card.taxonomy.of_labels
        self.merging = np.eye(self.card.config.classes + 1, dtype=np.float32)[:-1]
        if self.class_groups:
            groups = load_groups(self.class_groups, self.card.taxonomy)
            self.taxonomy, self.merging = groups.taxonomy.of_labels, merging(groups)
        number = len(self.taxonomy.classes)
        if number >= UNLABELLED_8BIT:
            msg = f'{number} classes are too many to train on: merge them into at most 254'
            raise TeacherError(msg)

    @cached_property
    def segmenter(self) -> Segmenter:
        """The network as it is served."""
        return Segmenter.load(self.path)

    @cached_property
    def record(self) -> TeacherRecord:
        """The teacher on the cards of its students."""
        digest = hash_of(self.path)
        return TeacherRecord(self.path.name, digest, self.card.licence)

    @property
    def digest(self) -> str:
        """A hash of everything that labels follow from."""
        options = [self.sizes, self.flip, self.min_probability]
        values = [self.record.sha256, options, self.taxonomy.to_dict(), self.merging.tolist()]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()

    def label(self, image: Pixels) -> tuple[Pixels, SoftLabels]:
        """Return class ids (H, W) uint8 of RGB (H, W, 3) uint8, and soft labels (2, n, h, w) uint8.

        Doubtful pixels are 255; soft labels have all places whose likeliest is a class.
        """
        sizes, grid = self._views(image.shape[:2])
        coarse = mean_of_views(self.logits, image, sizes, grid, flip=self.flip) @ self.merging
        longest = max(image.shape[:2])
        height, width = (max(1, n * min(longest, LONGEST_SIDE) // longest) for n in image.shape[:2])
        probabilities = upsample(coarse, height, width)
        labels = probabilities.argmax(-1)
        unknown = probabilities.max(-1) < self.min_probability
        unknown |= labels == len(self.taxonomy.classes)
        mask = np.where(unknown, UNLABELLED_8BIT, labels).astype(np.uint8)
        resized = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        return np.asarray(resized, np.uint8), soft_labels(coarse)

    def logits(self, image: Pixels, size: Size) -> NDArray[np.float32]:
        """Return the logits (h, w, classes) of one view of RGB (H, W, 3) uint8."""
        if not self.sizes or self.path.suffix != '.onnx':
            return self.segmenter.logits(image, network_size=size)
        wrong = (
            f'{self.path} cannot label images at {size[1]}x{size[0]}: leave --sizes out for a file '
            f'that takes {self.card.config.width}x{self.card.config.height} alone'
        )
        pixels = to_network(image, 'rgb8', *size)[None]
        # where a GPU fails, ONNX Runtime prints that a CPU serves
        with refusing(wrong, TeacherError), redirect_stdout(sys.stderr):
            logits: NDArray[np.float32] = self._any_size.run(None, {'pixels': pixels})[0][0]
        return logits

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

    def _views(self, image: Size) -> tuple[list[Size], Size]:
        """Return the network sizes of the views of an image, and the size of its soft labels."""
        if self.sizes:
            views = [view_size(width, image) for width in self.sizes]
            return [size for size, _ in views], view_size(min(self.sizes), image)[1]
        height, width = self.segmenter.network_size(*image)
        return [(height, width)], (height // SOFT_STRIDE, width // SOFT_STRIDE)

    @cached_property
    def _any_size(self) -> Any:
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


def view_size(width: int, image: Size) -> tuple[Size, Size]:
    """Return the network size of a view ``width`` pixels wide, and the size of its soft labels.

    An image (height, width) that is not wide is seen in the area of a 4:3 image of that width.
    """
    is_wide = image[1] >= WIDE * image[0]
    scale = width / image[1] if is_wide else width / math.sqrt(ASPECT * image[0] * image[1])
    height, wide = (max(STRIDE, STRIDE * round(side * scale / STRIDE)) for side in image[:2])
    rows, columns = (max(1, round(side * scale / SOFT_STRIDE)) for side in image[:2])
    return (height, wide), (rows, columns)
