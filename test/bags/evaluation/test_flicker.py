"""Flicker of labels whose changes are known."""

from __future__ import annotations

import math

import numpy as np

from lemore_ros.bags.evaluation.evaluate import Flicker

STEP_NS = 100_000_000


def test_the_share_of_changed_pixels_is_flicker_and_unlabelled_ones_do_not_count() -> None:
    labels, flicker = np.zeros((8, 10), np.uint8), Flicker(3)
    assert flicker.add(0, labels)[1] is None
    other = labels.copy()
    other[:2] = 1
    other[4:] = 255
    share, changed = flicker.add(STEP_NS, other)
    assert share == 0.5
    assert changed is not None
    assert np.array_equal(changed, other == 1)
    share, _ = flicker.add(2 * STEP_NS, np.full_like(labels, 255))
    assert math.isnan(share)
    assert (flicker.share, flicker.breaks) == (0.5, 0)


def test_what_cannot_be_compared_is_not() -> None:
    labels, flicker = np.zeros((8, 10), np.uint8), Flicker(3)
    assert math.isnan(flicker.share)
    flicker.add(0, labels)
    assert flicker.add(0, labels)[1] is None, 'the same stamp'
    assert flicker.add(2 * 10**9, labels)[1] is None, 'two seconds later'
    assert flicker.add(2 * 10**9 + 1, labels[:4])[1] is None, 'another size'
    assert flicker.breaks == 3
