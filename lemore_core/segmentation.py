"""Hold the result of segmenting one image, and postprocess it: threshold, groups, output size."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError
from lemore_core.taxonomy import ClassGroups, Taxonomy, load_groups

STEPS = ('upload', 'prepare', 'network', 'decode', 'download')
CAMERA, NETWORK = 'camera', 'network'
MAX_SIDE = 8192
ALLOWED_SIZES = f'{CAMERA}, {NETWORK}, or WIDTHxHEIGHT of 1 to {MAX_SIDE} pixels each'


class RefinementError(LemoreError):
    """A size or a confidence that is not allowed."""


@dataclass(frozen=True)
class Timings:
    """Milliseconds that segmenting an image took, in total and by step.

    ``steps`` has those of ``STEPS`` that were measured. Images of one batch each take ``total_ms``.
    """

    total_ms: float
    steps: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Segmentation:
    """Labels of an image of H x W pixels, at its own size or the size asked for.

    ``labels`` (H, W) uint8, or uint16 beyond 255 classes: class ids. ``confidence`` (H, W) uint8:
    the label's probability, 255 for certain. ``network_size`` (height, width) is the size of the
    network's input in the image's orientation, and ``resized`` the reason where its aspect differs.

    ``descriptor`` (n,) float32 describes the image for :mod:`lemore_core.familiarity`.
    ``familiarity`` is the share 0..1 of the images of held-out drives that are as far from the
    training images: 0 for a scene unlike all of them. ``sureness`` is the mean calibrated
    confidence, 0..1. They are ``None`` where the network or its card does not tell them.
    """

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    confidence: NDArray[np.uint8]
    network_size: tuple[int, int]
    timings: Timings
    resized: str = ''
    descriptor: NDArray[np.float32] | None = None
    familiarity: float | None = None
    sureness: float | None = None


@dataclass(frozen=True)
class OutputSize:
    """Size of the labels: the camera's, the network's, or ``fixed`` (height, width)."""

    fixed: tuple[int, int] | None = None
    is_network: bool = False

    @classmethod
    def parse(cls, text: str) -> OutputSize:
        """Read ``camera``, ``network``, or width and height as in ``640x480``."""
        if text in {CAMERA, NETWORK}:
            return cls(is_network=text == NETWORK)
        found = re.fullmatch(r'([0-9]{1,4})x([0-9]{1,4})', text)
        width, height = map(int, found.groups()) if found else (0, 0)
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            msg = f'output size is {text!r}, allowed: {ALLOWED_SIZES}'
            raise RefinementError(msg)
        return cls(fixed=(height, width))

    def of(self, camera: tuple[int, int], network: tuple[int, int]) -> tuple[int, int]:
        """Return the size for an image of size ``camera``; all are (height, width)."""
        return self.fixed or (network if self.is_network else camera)


@dataclass(frozen=True)
class Refinement:
    """Postprocessing of labels; none by default.

    Labels of a confidence (0..1) below ``min_confidence`` become unlabelled, classes their
    ``groups``, and labels and confidence are resized to ``output_size`` by nearest neighbour.
    """

    min_confidence: float = 0.0
    groups: ClassGroups | None = None
    output_size: OutputSize = OutputSize()

    def __post_init__(self) -> None:
        # NaN is refused as well
        if not 0.0 <= self.min_confidence <= 1.0:
            msg = f'min_confidence is {self.min_confidence}, allowed: 0.0 to 1.0'
            raise RefinementError(msg)

    def apply(self, result: Segmentation) -> Segmentation:
        """Return refined labels and the confidence of the original classes; unchanged, ``result``."""
        size = self.output_size.of(result.labels.shape, result.network_size)
        labels, confidence = resized(result.labels, size), resized(result.confidence, size)
        if self.min_confidence > 0.0:
            labels = mask_low_confidence(labels, confidence, self.min_confidence)
        if self.groups is not None:
            labels = self.groups.apply(labels)
        if labels is result.labels and confidence is result.confidence:
            return result
        return dataclasses.replace(result, labels=labels, confidence=confidence)


UNREFINED = Refinement()


def refinement_of(options: Any, classes: Taxonomy) -> tuple[Refinement, Taxonomy]:
    """Return the postprocessing that node or bag options ask for, and the classes of its labels."""
    groups = load_groups(options.class_groups, classes) if options.class_groups else None
    size = OutputSize.parse(options.output_size)
    refinement = Refinement(options.min_confidence, groups, size)
    return refinement, classes if groups is None else groups.taxonomy


def resized(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Return an image (H, W) or (H, W, C) at ``size`` (height, width) by nearest neighbour.

    Coordinates are rounded down, as OpenCV does, so that a camera's principal point scales with the
    image. The image itself is returned if it has the size.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)


def mask_low_confidence(
    labels: NDArray[Any], confidence: NDArray[np.uint8], min_confidence: float
) -> NDArray[Any]:
    """Return the labels (H, W), unlabelled below ``min_confidence`` (0..1)."""
    # a whole step of confidence must not be lost to a rounding error
    least = math.ceil(round(min_confidence * 255, 6))
    # unlabelled has all bits set; this is many times faster than choosing pixel by pixel
    unlabelled = np.iinfo(labels.dtype).max
    masked: NDArray[Any] = labels | (confidence < least) * labels.dtype.type(unlabelled)
    return masked
