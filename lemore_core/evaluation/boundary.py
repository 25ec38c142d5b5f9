"""The boundary F-score: how well the outlines of a segmentation follow the true ones.

Intersection over union hardly notices a ragged outline around a large region; this does. It is the
per-class boundary F1 of Csurka, Larlus and Perronnin ("What is a good evaluation measure for
semantic segmentation?", BMVC 2013) with their tolerance, 0.75 % of the image's diagonal:

- A boundary pixel of class c is a pixel of c with a pixel of another class above, below, left or
  right of it. The image's edge is no boundary.
- A boundary pixel is matched if a boundary pixel of c in the other label image lies within the
  tolerance (Euclidean distance between pixel centres, the tolerance itself included).
- Precision is the matched share of the predicted boundary pixels of c, recall that of the true
  ones, F = 2 PR / (P + R), and 0 where both are 0 or where one of the two images has no boundary.
- A class's score is the mean of F over the images in which it has a boundary, the figure of the
  data set the mean over classes.

Unlabelled pixels hide where the truth changes class, so they are treated with care: a true
boundary lies between labelled pixels only; a predicted boundary may lie anywhere when it matches a
true one; but a predicted boundary pixel counts for precision only if every pixel within the
tolerance of it is labelled, and its four neighbours too, since any other could be its match. A
image all of whose predicted boundary pixels of c are out of the count says nothing of c and is
left out.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.evaluation.metrics import mean_of_known

TOLERANCE = 0.0075
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))

LabelImage: TypeAlias = NDArray[np.integer]
# zeros and ones as bytes: OpenCV takes them, and they combine with & and |
Flags: TypeAlias = NDArray[np.uint8]


class BoundaryScore:
    """Sums of the boundary F-scores of images, by class."""

    def __init__(self, classes: int, tolerance: float = TOLERANCE) -> None:
        self.classes = classes
        self.tolerance = tolerance
        self.sums: NDArray[np.float64] = np.zeros(classes, np.float64)
        self.images: NDArray[np.int64] = np.zeros(classes, np.int64)

    def add(self, truth: LabelImage, labels: LabelImage) -> None:
        """Score an image: two label images (H, W); true ids outside the classes are unlabelled.

        Raises:
            ValueError: the two differ in shape.

        """
        scores = boundary_scores(truth, labels, self.classes, self.tolerance)
        known = ~np.isnan(scores)
        self.sums[known] += scores[known]
        self.images += known

    def merge(self, other: BoundaryScore) -> None:
        """Add what another score of the same classes has summed."""
        self.sums += other.sums
        self.images += other.images

    @property
    def scores(self) -> NDArray[np.float64]:
        """F of each class, (classes,); NaN where no image has a boundary of it."""
        with np.errstate(invalid='ignore'):
            return np.asarray(self.sums / self.images, np.float64)

    @property
    def mean(self) -> float:
        """Mean of :attr:`scores` over the classes that have one; NaN if none has."""
        return mean_of_known(self.scores)


def boundary_scores(
    truth: LabelImage, labels: LabelImage, classes: int, tolerance: float = TOLERANCE
) -> NDArray[np.float64]:
    """Return F of each class in one image, (classes,) float64, NaN where there is nothing to say.

    ``truth`` and ``labels`` are (H, W); ``tolerance`` is a share of the diagonal.

    Raises:
        ValueError: the two differ in shape.

    """
    if truth.shape != labels.shape:
        msg = f'truth has shape {truth.shape}, labels {labels.shape}'
        raise ValueError(msg)
    reach = tolerance * math.hypot(*truth.shape)
    known = (truth < classes).astype(np.uint8)
    true_edges = _edges(truth, known)
    edges = _edges(labels, np.ones_like(known))
    # an unlabelled neighbour makes a boundary pixel, or does not: nobody knows
    unknown = np.asarray(cv2.dilate(1 - known, CROSS), np.uint8)
    judged = 1 - _within(unknown, reach)
    scores = np.full(classes, np.nan)
    for c in np.union1d(truth[true_edges == 1], labels[edges == 1]):
        if c < classes:
            true_edge, edge = true_edges & (truth == c), edges & (labels == c)
            scores[c] = _score(true_edge, edge, judged, reach)
    return scores


def _edges(labels: LabelImage, known: Flags) -> Flags:
    """Mark the pixels that have a neighbour of another class, both of them known."""
    edges = np.zeros_like(known)
    for here, there in (
        (np.s_[1:], np.s_[:-1]),
        (np.s_[:, 1:], np.s_[:, :-1]),
    ):
        change = (labels[here] != labels[there]) & known[here] & known[there]
        edges[here] |= change
        edges[there] |= change
    return edges


def _within(marks: Flags, reach: float) -> Flags:
    """Mark the pixels that have a marked one within ``reach`` of them."""
    if not marks.any():
        return np.zeros_like(marks)
    # the distance to the nearest zero, exact in this mask size
    distances = cv2.distanceTransform(1 - marks, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distances <= np.float32(reach), np.uint8)


def _score(true_edge: Flags, edge: Flags, judged: Flags, reach: float) -> float:
    # no match lies outside the box around both, and most classes fill little of an image
    x, y, width, height = cv2.boundingRect(true_edge | edge)
    box = np.s_[y : y + height, x : x + width]
    true_edge, edge = (np.ascontiguousarray(flags[box]) for flags in (true_edge, edge))
    counted = edge & judged[box]
    if not edge.any():
        return 0.0
    if not counted.any():
        return np.nan
    if not true_edge.any():
        return 0.0
    precision = np.count_nonzero(counted & _within(true_edge, reach)) / np.count_nonzero(counted)
    recall = np.count_nonzero(true_edge & _within(edge, reach)) / np.count_nonzero(true_edge)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
