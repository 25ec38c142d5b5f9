from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lemore_ros.bags.evaluation.temporal import TemporalConsistency

HEIGHT, WIDTH, SHIFT = 240, 400, 8
STEP_NS = 100_000_000


def scene() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Give a textured image wider than a frame, and stripes of three classes on it."""
    coarse = np.random.default_rng(1).integers(0, 255, (30, 60, 3), np.uint8)
    image = cv2.resize(coarse, (WIDTH + 80, HEIGHT), interpolation=cv2.INTER_CUBIC)
    columns = np.arange(WIDTH + 80) // 40 % 3
    return np.asarray(image, np.uint8), np.tile(columns.astype(np.uint8), (HEIGHT, 1))


def shifted(image: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Move the scene to the left by 8 pixels a step."""
    return np.ascontiguousarray(image[:, step * SHIFT : step * SHIFT + WIDTH])


def test_labels_that_move_with_the_image_do_not_flicker() -> None:
    image, labels = scene()
    temporal = TemporalConsistency(3)
    assert temporal.add(0, shifted(image, 0), shifted(labels, 0)) is None
    flicker = temporal.add(STEP_NS, shifted(image, 1), shifted(labels, 1))
    assert flicker is not None
    # of each stripe of 40 pixels, 8 have another class than before
    assert flicker.plain == pytest.approx(8 / 40, abs=0.01)
    assert flicker.compensated < 0.003
    assert flicker.unsure.mean() < 0.1
    # new pixels have no flow
    assert flicker.unsure[:, -SHIFT + 2 :].all()
    assert temporal.consistency > 0.99
    assert temporal.flicker == pytest.approx(flicker.plain)


def test_labels_that_change_on_a_still_image_flicker_both_ways() -> None:
    image, labels = (shifted(image, 0) for image in scene())
    temporal = TemporalConsistency(3)
    temporal.add(0, image, labels)
    other = labels.copy()
    other[: HEIGHT // 4] = (other[: HEIGHT // 4] + 1) % 3
    flicker = temporal.add(STEP_NS, image, other)
    assert flicker is not None
    assert flicker[:2] == pytest.approx((0.25, 0.25))
    assert not flicker.unsure.any()
    assert flicker.changed[: HEIGHT // 4].all()
    assert not flicker.changed[HEIGHT // 4 :].any()
    assert temporal.compensated_flicker == pytest.approx(0.25)


def test_what_cannot_be_compared_is_not() -> None:
    image, labels = (shifted(image, 0) for image in scene())
    temporal = TemporalConsistency(3)
    temporal.add(0, image, labels)
    assert temporal.add(0, image, labels) is None, 'the same stamp'
    assert temporal.add(2 * 10**9, image, labels) is None, 'two seconds later'
    assert temporal.add(2 * 10**9 + 1, image[:100], labels[:100]) is None, 'another size'
    assert (temporal.pairs, temporal.breaks) == (0, 3)
    assert math.isnan(temporal.flicker)


def test_unlabelled_pixels_do_not_count() -> None:
    image, labels = (shifted(image, 0) for image in scene())
    temporal = TemporalConsistency(3)
    half = labels.copy()
    half[: HEIGHT // 2] = 255
    temporal.add(0, image, half)
    flicker = temporal.add(STEP_NS, image, labels)
    assert flicker is not None
    assert flicker[:2] == (0.0, 0.0)
    assert flicker.unsure.mean() == 0.5
    nothing = np.full_like(labels, 255)
    flicker = temporal.add(2 * STEP_NS, image, nothing)
    assert flicker is not None
    assert math.isnan(flicker.plain)
    assert flicker.unsure.all()


def test_a_tiny_image_is_compared_without_flow() -> None:
    image, labels = np.zeros((8, 9, 3), np.uint8), np.zeros((8, 9), np.uint8)
    temporal = TemporalConsistency(3)
    temporal.add(0, image, labels)
    flicker = temporal.add(STEP_NS, image, labels)
    assert flicker is not None
    assert flicker.plain == 0
    assert math.isnan(flicker.compensated)
