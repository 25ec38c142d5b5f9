from __future__ import annotations

import math
import time

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lemore_core.evaluation.boundary import BoundaryScore, boundary_scores

Labels = NDArray[np.uint8]
Pixels = list[tuple[int, int]]
CLASSES = 4


def edge_pixels(labels: Labels, known: NDArray[np.bool_], c: int) -> Pixels:
    """Walk over every pixel and its four neighbours."""
    height, width = labels.shape
    found = []
    for y in range(height):
        for x in range(width):
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= v < height and 0 <= u < width
                if inside and known[y, x] and known[v, u] and labels[y, x] == c != labels[v, u]:
                    found.append((y, x))
                    break
    return found


def share_near(pixels: Pixels, others: Pixels, reach: float) -> float:
    near = [any(math.dist(p, q) <= reach for q in others) for p in pixels]
    return sum(near) / len(near)


def by_loops(truth: Labels, labels: Labels, tolerance: float) -> list[float]:
    reach = tolerance * math.hypot(*truth.shape)
    known = truth < CLASSES
    unlabelled = list(zip(*np.nonzero(~known), strict=True))
    steps = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
    hidden = {(y + v, x + u) for y, x in unlabelled for v, u in steps}
    hidden = {(y, x) for y, x in hidden if 0 <= y < truth.shape[0] and 0 <= x < truth.shape[1]}
    scores = []
    for c in range(CLASSES):
        true = edge_pixels(truth, known, c)
        predicted = edge_pixels(labels, np.ones_like(known), c)
        counted = [p for p in predicted if not any(math.dist(p, q) <= reach for q in hidden)]
        if (predicted and not counted) or not (true or predicted):
            scores.append(math.nan)
        elif not true or not predicted:
            scores.append(0.0)
        else:
            precision = share_near(counted, true, reach)
            recall = share_near(true, predicted, reach)
            both = precision + recall
            scores.append(2 * precision * recall / both if both else 0.0)
    return scores


def blobs(random: np.random.Generator, shape: tuple[int, int], classes: int) -> Labels:
    coarse = random.integers(0, classes, (4, 5)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


@pytest.mark.parametrize('tolerance', [0.0, 0.02, 0.05, 0.1])
@pytest.mark.parametrize('seed', range(4))
def test_it_is_what_plain_loops_find(seed: int, tolerance: float) -> None:
    random = np.random.default_rng(seed)
    truth = blobs(random, (23, 31), 3)
    labels = np.roll(truth, (seed, 1), (0, 1))
    spots = random.random(labels.shape) < 0.01
    labels[spots] = random.integers(0, CLASSES, np.count_nonzero(spots))
    if seed % 2:
        truth[2:5, 3:9] = 255
        truth[20, 30] = 255
    expected = by_loops(truth, labels, tolerance)
    np.testing.assert_allclose(boundary_scores(truth, labels, CLASSES, tolerance), expected)
    assert any(0 < score < 1 for score in expected), 'only ends of the scale would prove little'


def halves(column: int, size: tuple[int, int] = (120, 160)) -> Labels:
    labels = np.zeros(size, np.uint8)
    labels[:, column:] = 1
    return labels


@pytest.mark.parametrize(('shift', 'score'), [(0, 1.0), (1, 1.0), (2, 0.0), (30, 0.0)])
def test_the_tolerance_is_a_share_of_the_diagonal(shift: int, score: float) -> None:
    # the diagonal is 200 pixels, the tolerance 1.5
    scores = boundary_scores(halves(80), halves(80 + shift), 3)
    np.testing.assert_array_equal(scores, [score, score, np.nan])


def test_an_outline_that_is_missed_or_made_up_scores_nothing() -> None:
    flat = np.zeros((120, 160), np.uint8)
    for truth, labels in ((halves(80), flat), (flat, halves(80))):
        np.testing.assert_array_equal(boundary_scores(truth, labels, 2), [0, 0])
    assert np.isnan(boundary_scores(flat, flat, 2)).all(), 'an image without outlines'


def test_a_boundary_hidden_in_unlabelled_pixels_is_not_held_against_the_prediction() -> None:
    truth = halves(80)
    truth[:, 70:90] = 255
    assert np.isnan(boundary_scores(truth, halves(80), 2)).all()
    # one just outside may belong to the hidden one, one far away cannot
    assert np.isnan(boundary_scores(truth, halves(91), 2)).all()
    assert boundary_scores(truth, halves(100), 2).tolist() == [0, 0]


def test_images_are_averaged_by_class_and_parts_merge() -> None:
    first, second = BoundaryScore(3), BoundaryScore(3)
    first.add(halves(80), halves(81))
    second.add(halves(80), halves(110))
    second.add(np.zeros((120, 160), np.uint8), np.zeros((120, 160), np.uint8))
    first.merge(second)
    np.testing.assert_array_equal(first.scores, [0.5, 0.5, np.nan])
    assert first.mean == 0.5
    assert first.images.tolist() == [2, 2, 0]


def test_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r'\(2, 2\), labels \(2, 3\)'):
        boundary_scores(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 2)


def test_a_large_image_takes_a_fraction_of_a_second() -> None:
    random = np.random.default_rng(0)
    truth = blobs(random, (1024, 2048), 19)
    labels = np.roll(truth, 5, 1)
    started = time.perf_counter()
    scores = boundary_scores(truth, labels, 19)
    # some 0.2 s; a disk dilated as a whole took seconds
    assert time.perf_counter() - started < 2
    assert 0.8 < np.nanmin(scores) < 1
