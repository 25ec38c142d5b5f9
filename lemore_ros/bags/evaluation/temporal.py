"""How steady labels are from frame to frame, with and without following the motion.

- Flicker: the share of the pixels whose label is another than at the same place in the frame
  before. Motion counts as flicker.
- Compensated flicker: the earlier labels are first carried along the optical flow, and only pixels
  are counted whose motion is sure (:class:`OpticalFlow`).
- Temporal consistency: the mean IoU between the carried labels and the present ones (Varghese et
  al., "Unsupervised temporal consistency metric for video segmentation in highly-automated
  driving", CVPRW 2020), of the whole sequence.

They say how steady labels are, not how right: labels that never change are perfect here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.metrics import ConfusionMatrix
from lemore_core.evaluation.report.images import fit_width
from lemore_core.refine import resized

FLOW_WIDTH = 512
# DIS gives up on images that its coarsest scale has no room for
SMALLEST_SIDE = 12
# of Sundaram, Brox and Keutzer: what a motion may differ from its way back, in pixels squared
RELATIVE_GAP = 0.01
ABSOLUTE_GAP = 0.5
LONGEST_GAP_S = 1.0


class Motion(NamedTuple):
    """Where each pixel of an image was in the one before.

    ``column`` and ``row`` (H, W) float32 are places in the earlier image; ``is_sure`` (H, W) bool
    says where they hold: inside of it, and found again by the flow in the other direction.
    """

    column: NDArray[np.float32]
    row: NDArray[np.float32]
    is_sure: NDArray[np.bool_]

    def carry(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return the earlier image's labels (H, W) where they are now, by nearest neighbour."""
        return cv2.remap(
            labels, self.column, self.row, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )


class OpticalFlow:
    """Dense inverse search (Kroeger et al., "Fast optical flow using dense inverse search", ECCV
    2016) in both directions; a motion is sure where the two agree, by the test of Sundaram, Brox
    and Keutzer ("Dense point trajectories by GPU-accelerated large displacement optical flow",
    ECCV 2010).
    """  # noqa: D205 - the sources are part of the first sentence

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def motion(self, previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> Motion:
        """Return where the pixels of ``current`` were in ``previous``, both grey (H, W) uint8.

        Nothing is sure in images of less than 12 pixels a side.
        """
        height, width = current.shape
        across, down = np.meshgrid(
            np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
        )
        if min(current.shape) < SMALLEST_SIDE:
            return Motion(across, down, np.zeros(current.shape, np.bool_))
        back = self._flow(current, previous)
        column, row = across + back[..., 0], down + back[..., 1]
        forth = cv2.remap(self._flow(previous, current), column, row, cv2.INTER_LINEAR)
        gap = _squared(back + forth)
        allowed = RELATIVE_GAP * (_squared(back) + _squared(forth)) + ABSOLUTE_GAP
        inside = (column >= 0) & (column <= width - 1) & (row >= 0) & (row <= height - 1)
        return Motion(column, row, inside & (gap < allowed))

    def _flow(self, start: NDArray[np.uint8], end: NDArray[np.uint8]) -> NDArray[np.float32]:
        # without an initial guess the result hangs on nothing but the two images
        flow = self._dis.calc(start, end, np.zeros((*start.shape, 2), np.float32))
        return np.asarray(flow, np.float32)


def _squared(vectors: Any) -> NDArray[np.float32]:
    # several times faster than a sum over two numbers
    x, y = vectors[..., 0], vectors[..., 1]
    return np.asarray(x * x + y * y, np.float32)


class Flicker(NamedTuple):
    """The shares 0..1 of changed labels between two frames; NaN where no pixel can be compared.

    ``covered`` is the share of the pixels that ``compensated`` is about. Of these, ``changed``
    (h, w) bool marks those whose label changed, at the size at which frames are compared;
    ``unsure`` marks the others.
    """

    plain: float
    compensated: float
    covered: float
    changed: NDArray[np.bool_]
    unsure: NDArray[np.bool_]


class _Look(NamedTuple):
    """A frame as it is remembered: grey (h, w) uint8, and labels of the same size."""

    time_ns: int
    grey: NDArray[np.uint8]
    labels: NDArray[Any]


class TemporalConsistency:
    """Compares each frame with the one before.

    Frames are compared at 512 pixels of width if they are wider. Frames that are more than a second
    apart, out of order, or of another size than the one before are not compared: ``breaks`` counts
    them.
    """

    def __init__(self, classes: int) -> None:
        self.pairs = 0
        self.breaks = 0
        self.plain = ConfusionMatrix(classes)
        self.compensated = ConfusionMatrix(classes)
        self._flow = OpticalFlow()
        self._last: _Look | None = None

    def add(self, time_ns: int, rgb: NDArray[np.uint8], labels: NDArray[Any]) -> Flicker | None:
        """Compare a frame, RGB (H, W, 3) uint8 and labels (H, W), with the one before.

        Labels beyond the classes are unlabelled: a pixel that has one in either frame is not
        compared. ``None`` if there is nothing to compare with.
        """
        size = fit_width((rgb.shape[0], rgb.shape[1]), FLOW_WIDTH)
        small = cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
        look = _Look(time_ns, grey, resized(labels, size))
        last, self._last = self._last, look
        if last is None:
            return None
        if not _follows(look, last):
            self.breaks += 1
            return None
        self.pairs += 1
        return self._compare(last, look)

    @property
    def flicker(self) -> float:
        """Share of all compared pixels whose label changed; NaN if none was compared."""
        return 1 - self.plain.pixel_accuracy

    @property
    def compensated_flicker(self) -> float:
        """The same along the motion, where it is sure."""
        return 1 - self.compensated.pixel_accuracy

    @property
    def consistency(self) -> float:
        """Mean IoU of carried and present labels; NaN if no pixel was compared."""
        return self.compensated.mean_iou

    def _compare(self, last: _Look, look: _Look) -> Flicker:
        motion = self._flow.motion(last.grey, look.grey)
        everywhere = np.ones(look.labels.shape, np.bool_)
        plain, _, _ = _count(self.plain, last.labels, look.labels, everywhere)
        carried = motion.carry(last.labels)
        share, both, changed = _count(self.compensated, carried, look.labels, motion.is_sure)
        return Flicker(plain, share, np.count_nonzero(both) / both.size, changed, ~both)


def _follows(look: _Look, last: _Look) -> bool:
    gap = look.time_ns - last.time_ns
    return 0 < gap <= LONGEST_GAP_S * 1e9 and look.labels.shape == last.labels.shape


def _count(
    total: ConfusionMatrix, before: NDArray[Any], now: NDArray[Any], where: NDArray[np.bool_]
) -> tuple[float, NDArray[np.bool_], NDArray[np.bool_]]:
    """Add to ``total``; return the share of changed labels, the pixels compared, and the changed."""
    both = where & (before < total.classes) & (now < total.classes)
    changed = both & (before != now)
    pair = ConfusionMatrix(total.classes)
    pair.add(before[both], now[both])
    total.merge(pair)
    pixels = np.count_nonzero(both)
    return (np.count_nonzero(changed) / pixels if pixels else math.nan), both, changed
