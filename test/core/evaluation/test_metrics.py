from __future__ import annotations

import numpy as np
import pytest

from lemore_core.evaluation.metrics import ConfusionMatrix
from lemore_core.evaluation.timing import median_ms


def test_iou_is_what_a_plain_loop_counts() -> None:
    random = np.random.default_rng(0)
    matrix = ConfusionMatrix(5)
    truths, predictions = [], []
    for _ in range(3):
        truth = random.choice([0, 1, 2, 3, 255], (20, 30)).astype(np.uint8)
        labels = np.where(random.random((20, 30)) < 0.6, truth % 5, random.integers(0, 4, (20, 30)))
        matrix.add(truth, labels)
        truths.append(truth)
        predictions.append(labels)
    truth, labels = np.concatenate(truths), np.concatenate(predictions)
    known = truth != 255
    expected = []
    for c in range(5):
        hits = np.count_nonzero(known & (truth == c) & (labels == c))
        union = np.count_nonzero(known & ((truth == c) | (labels == c)))
        expected.append(hits / union if union else np.nan)
    np.testing.assert_allclose(matrix.iou, expected)
    assert np.isnan(expected[4]), 'the class that never occurs must not count'
    assert matrix.mean_iou == pytest.approx(np.nanmean(expected))
    assert matrix.pixel_accuracy == pytest.approx((truth == labels)[known].mean())


def test_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r'\(2, 2\), labels \(2, 3\)'):
        ConfusionMatrix(2).add(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))


def test_steps_are_timed_in_turns() -> None:
    calls: list[str] = []
    times = median_ms({'a': lambda: calls.append('a'), 'b': lambda: calls.append('b')}, 2)
    assert calls == ['a', 'b'] * 3
    assert times.keys() == {'a', 'b'}
