"""Measure how steady labels are from frame to frame, with and without following the motion.

- Flicker: share of the pixels whose label differs from the frame before. Motion counts as flicker.
- Compensated flicker: the same after moving the earlier labels along the optical flow, where the
  flow is sure.
- Temporal consistency: mean IoU between moved and present labels (Varghese et al., "Unsupervised
  temporal consistency metric for video segmentation in highly-automated driving", CVPRW 2020).

Labels that never change are perfect here, right or wrong.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.metrics import ConfusionMatrix
from lemore_core.evaluation.worst import shrink
from lemore_core.segmentation import resized

FLOW_WIDTH = 512
# DIS gives up on images that its coarsest scale has no room for
SMALLEST_SIDE = 12
# of Sundaram, Brox and Keutzer: what a motion may differ from its way back, in pixels squared
RELATIVE_GAP = 0.01
ABSOLUTE_GAP = 0.5
LONGEST_GAP_S = 1.0


def optical_flow_back(
    previous: NDArray[np.uint8], current: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return column, row (H, W) float32 in ``previous`` of each pixel of ``current``, and if sure.

    Both are grey (H, W) uint8. The flow is dense inverse search (Kroeger et al., ECCV 2016) in both
    directions; it is sure where the two agree, by the test of Sundaram, Brox and Keutzer ("Dense
    point trajectories by GPU-accelerated large displacement optical flow", ECCV 2010).
    """
    height, width = current.shape
    across, down = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    )
    if min(current.shape) < SMALLEST_SIDE:
        return across, down, np.zeros(current.shape, np.bool_)
    back = _flow(current, previous)
    column, row = across + back[..., 0], down + back[..., 1]
    forth = cv2.remap(_flow(previous, current), column, row, cv2.INTER_LINEAR)
    gap = _squared(back + forth)
    allowed = RELATIVE_GAP * (_squared(back) + _squared(forth)) + ABSOLUTE_GAP
    inside = (column >= 0) & (column <= width - 1) & (row >= 0) & (row <= height - 1)
    return column, row, inside & (gap < allowed)


def _flow(start: NDArray[np.uint8], end: NDArray[np.uint8]) -> NDArray[np.float32]:
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # a fixed initial guess makes the result depend on the two images only
    return np.asarray(dis.calc(start, end, np.zeros((*start.shape, 2), np.float32)), np.float32)


def _squared(vectors: Any) -> NDArray[np.float32]:
    # several times faster than a sum over two numbers
    x, y = vectors[..., 0], vectors[..., 1]
    return np.asarray(x * x + y * y, np.float32)


class Flicker(NamedTuple):
    """Shares 0..1 of changed labels between two frames; NaN where no pixel can be compared.

    ``changed`` (h, w) bool marks changed labels along the motion, at the size at which frames are
    compared; ``unsure`` marks the pixels that are not compared.
    """

    plain: float
    compensated: float
    changed: NDArray[np.bool_]
    unsure: NDArray[np.bool_]


class _Frame(NamedTuple):
    time_ns: int
    grey: NDArray[np.uint8]
    labels: NDArray[Any]


class TemporalConsistency:
    """Compares each frame with the one before, at 512 pixels of width if they are wider.

    Frames more than a second apart, out of order, or of another size than the one before are not
    compared: ``breaks`` counts them.
    """

    def __init__(self, classes: int) -> None:
        self.pairs = 0
        self.breaks = 0
        self.plain = ConfusionMatrix(classes)
        self.compensated = ConfusionMatrix(classes)
        self._last: _Frame | None = None

    def add(self, time_ns: int, rgb: NDArray[np.uint8], labels: NDArray[Any]) -> Flicker | None:
        """Compare a frame, RGB (H, W, 3) uint8 and labels (H, W), with the one before.

        Pixels that are unlabelled in either frame are not compared. None without a frame before.
        """
        small = shrink(rgb, FLOW_WIDTH, cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
        now = _Frame(time_ns, grey, resized(labels, (grey.shape[0], grey.shape[1])))
        last, self._last = self._last, now
        if last is None:
            return None
        is_near = 0 < time_ns - last.time_ns <= LONGEST_GAP_S * 1e9
        if not is_near or now.labels.shape != last.labels.shape:
            self.breaks += 1
            return None
        self.pairs += 1
        column, row, is_sure = optical_flow_back(last.grey, now.grey)
        moved = cv2.remap(
            last.labels, column, row, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )
        plain, _, _ = _count(self.plain, last.labels, now.labels, np.ones_like(is_sure))
        share, both, changed = _count(self.compensated, moved, now.labels, is_sure)
        return Flicker(plain, share, changed, ~both)

    @property
    def flicker(self) -> float:
        """Share of all compared pixels whose label changed; NaN if none was compared."""
        return 1 - self.plain.pixel_accuracy

    @property
    def compensated_flicker(self) -> float:
        """The same along the motion, where the flow is sure."""
        return 1 - self.compensated.pixel_accuracy

    @property
    def consistency(self) -> float:
        """Mean IoU of moved and present labels; NaN if no pixel was compared."""
        return self.compensated.mean_iou


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
