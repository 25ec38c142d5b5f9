"""How steady labels are from frame to frame, with and without following the motion.

- Flicker: the share of the pixels whose label is another than at the same place in the frame
  before. Motion counts as flicker.
- Compensated flicker: the earlier labels are first carried along the optical flow, and only pixels
  are counted whose motion is sure (:mod:`lemore_ros.bags.evaluation.flow`).
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
from lemore_ros.bags.evaluation.flow import OpticalFlow

FLOW_WIDTH = 512
LONGEST_GAP_S = 1.0


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
