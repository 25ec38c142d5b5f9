"""How an image moved since the one before it: dense optical flow, and where to believe it."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

# DIS gives up on images that its coarsest scale has no room for
SMALLEST_SIDE = 12
# of Sundaram, Brox and Keutzer: what a motion may differ from its way back, in pixels squared
RELATIVE_GAP = 0.01
ABSOLUTE_GAP = 0.5


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
