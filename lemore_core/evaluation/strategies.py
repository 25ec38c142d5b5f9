"""Segment an image at a single scale, or average the probabilities of several views.

Single scale is the default and the paper's. Scales and mirror images cost as many times the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError
from lemore_core.common.validation import check_fields, option
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import ClassGroups, Labels, Taxonomy

LOGIT_STRIDE = 8
SMALLEST_SIDE = 32


class ScalesError(LemoreError):
    """Scales that are not allowed."""


class Prediction(NamedTuple):
    """Labels (H, W), uint8 or uint16, and their probabilities (H, W) uint8, 255 for certain."""

    labels: Labels
    confidence: NDArray[np.uint8]


class Predictor(Protocol):
    """Segments images with the classes of ``taxonomy``."""

    taxonomy: Taxonomy

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an RGB image (H, W, 3) uint8 at its own size."""


@dataclass(frozen=True)
class Views:
    """The views of an image; the defaults are the one view of single scale.

    ``scales`` multiply the size at which the network sees an image; ``flip`` adds the mirror image
    of every view.
    """

    scales: tuple[float, ...] = option((1.0,), low=0.1, high=10)
    flip: bool = False

    def __post_init__(self) -> None:
        check_fields(self, ScalesError)
        if not self.scales:
            msg = 'there are no scales: give one or more'
            raise ScalesError(msg)

    def __str__(self) -> str:
        scales = ', '.join(f'{scale:g}' for scale in self.scales)
        text = 'single scale' if self.scales == (1.0,) else f'scales {scales}'
        return f'{text}; flip' if self.flip else text


class SingleScale:
    """Single forward pass, as in the node."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.taxonomy = segmenter.taxonomy
        self._segmenter = segmenter

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an RGB image (H, W, 3) uint8."""
        segmentation = self._segmenter.segment(image, 'rgb8')
        return Prediction(segmentation.labels, segmentation.confidence)


class AveragedViews:
    """Mean of the probabilities of several views.

    One view alone gives the labels of single scale. Its confidence differs: it is the softmax of a
    pixel's interpolated logits, not the interpolated softmax, which is lower along boundaries.
    With ``groups`` the probabilities of their classes are summed, and ignored classes left out.
    """

    def __init__(
        self, segmenter: Segmenter, views: Views, groups: ClassGroups | None = None
    ) -> None:
        self.taxonomy = groups.taxonomy if groups else segmenter.taxonomy
        self._merging = merging(groups)[:, :-1] if groups else None
        self._segmenter = segmenter
        self._views = views
        # every image needs the network sizes of all scales
        segmenter.keep_sizes(4 * len(views.scales))

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an RGB image (H, W, 3) uint8; needs H x W x classes floats of memory twice."""
        probabilities = self.probabilities(image)
        labels = probabilities.argmax(-1).astype(self.taxonomy.label_dtype)
        confidence = np.rint(255 * probabilities.max(-1)).astype(np.uint8)
        return Prediction(labels, confidence)

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the mean probabilities of an RGB image, (H, W, classes or groups) float32."""
        height, width = image.shape[:2]
        base = self._segmenter.network_size(height, width)
        sizes = [scaled_size(base, scale) for scale in self._views.scales]
        mean = mean_of_views(self._logits, image, sizes, (height, width), flip=self._views.flip)
        return mean if self._merging is None else mean @ self._merging

    def _logits(self, image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
        return self._segmenter.logits(image, 'rgb8', network_size=size)


def predictor_for(
    segmenter: Segmenter, views: Views, groups: ClassGroups | None = None
) -> Predictor:
    """Return a single-scale predictor, or one that averages views or sums ``groups`` of classes."""
    if views == Views() and groups is None:
        return SingleScale(segmenter)
    return AveragedViews(segmenter, views, groups)


def merging(groups: ClassGroups) -> NDArray[np.float32]:
    """Return the matrix (classes, groups + 1) that sums probabilities; the last is of no group."""
    ids: Labels = np.arange(len(groups.of.classes), dtype=np.uint16)
    number = len(groups.groups)
    one_hot: NDArray[np.float32] = np.eye(number + 1, dtype=np.float32)
    return one_hot[np.minimum(groups.apply(ids), number)]


def mean_of_views(
    logits: Callable[[NDArray[np.uint8], tuple[int, int]], NDArray[np.float32]],
    image: NDArray[np.uint8],
    sizes: Sequence[tuple[int, int]],
    grid: tuple[int, int],
    *,
    flip: bool,
) -> NDArray[np.float32]:
    """Return the mean probabilities of an image (H, W, 3) seen at several sizes, (grid, classes).

    ``logits`` takes an image and a network size; ``flip`` adds the mirror image of every view.
    """
    views = []
    for size in sizes:
        views.append(softmax(upsample(logits(image, size), *grid)))
        if flip:
            mirrored = logits(np.ascontiguousarray(image[:, ::-1]), size)
            views.append(softmax(upsample(mirrored, *grid))[:, ::-1])
    return np.asarray(sum(views[1:], start=views[0]) / np.float32(len(views)), np.float32)


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return a network size times ``scale``, in whole logits; the size itself where it is 1."""
    if scale == 1:
        return size
    # a size between two logits would stretch the image against its labels
    height, width = (
        max(SMALLEST_SIDE, round(side * scale / LOGIT_STRIDE) * LOGIT_STRIDE) for side in size
    )
    return height, width


def upsample(logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Interpolate logits (h, w, classes) bilinearly to (height, width, classes)."""
    # OpenCV resizes images of up to 128 channels
    parts = [
        cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=cv2.INTER_LINEAR)
        for part in np.split(logits, range(128, logits.shape[2], 128), axis=-1)
    ]
    return np.concatenate([part.reshape(height, width, -1) for part in parts], -1)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities (..., classes) of logits; the argument is overwritten."""
    logits -= logits.max(-1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(-1, keepdims=True)
    return logits
