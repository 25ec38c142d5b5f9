from __future__ import annotations

import json

import numpy as np
import pytest

from lemore_core.evaluation.metrics import ConfusionMatrix, percent, rounded


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


@pytest.mark.parametrize('seed', range(3))
def test_it_agrees_with_torchmetrics(seed: int) -> None:
    segmentation = pytest.importorskip('torchmetrics.classification', reason='no torchmetrics')
    import torch

    random = np.random.default_rng(seed)
    truth = random.choice([0, 1, 2, 3, 4, 5, 255], (4, 30, 40)).astype(np.uint8)
    labels = random.integers(0, 6, truth.shape).astype(np.uint8)
    labels[truth == seed] = seed
    matrix = ConfusionMatrix(6)
    for pair in zip(truth, labels, strict=True):
        matrix.add(*pair)
    tensors = torch.from_numpy(labels).long(), torch.from_numpy(truth).long()
    options = {'num_classes': 6, 'ignore_index': 255}
    for ours, name, average in (
        (matrix.iou, 'MulticlassJaccardIndex', 'none'),
        (matrix.mean_iou, 'MulticlassJaccardIndex', 'macro'),
        (matrix.accuracy, 'MulticlassAccuracy', 'none'),
        (matrix.mean_accuracy, 'MulticlassAccuracy', 'macro'),
        (matrix.pixel_accuracy, 'MulticlassAccuracy', 'micro'),
    ):
        theirs = getattr(segmentation, name)(average=average, **options)(*tensors)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5)


def test_merged_parts_are_the_whole() -> None:
    random = np.random.default_rng(0)
    pairs = random.integers(0, 3, (4, 2, 9, 9)).astype(np.uint8)
    whole, left, right = (ConfusionMatrix(3) for _ in range(3))
    for index, (truth, labels) in enumerate(pairs):
        whole.add(truth, labels)
        (left if index < 2 else right).add(truth, labels)
    left.merge(right)
    assert np.array_equal(left.counts, whole.counts)
    assert whole.counts.sum() == 4 * 81


def test_a_class_that_is_only_predicted_lowers_the_iou_but_has_no_accuracy() -> None:
    matrix = ConfusionMatrix(3)
    matrix.add(np.array([[0, 0, 0, 0]]), np.array([[0, 0, 0, 1]]))
    np.testing.assert_array_equal(matrix.iou, [0.75, 0, np.nan])
    np.testing.assert_array_equal(matrix.accuracy, [0.75, np.nan, np.nan])
    assert (matrix.mean_iou, matrix.mean_accuracy) == (0.375, 0.75)


@pytest.mark.filterwarnings('error')
def test_nothing_labelled_gives_no_figures_and_no_warnings() -> None:
    matrix = ConfusionMatrix(2)
    matrix.add(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))
    figures = matrix.figures(('a', 'b'))
    assert figures == {
        'mean_iou': None,
        'pixel_accuracy': None,
        'mean_accuracy': None,
        'iou': {'a': None, 'b': None},
    }
    json.dumps(figures, allow_nan=False)


def test_figures_are_rounded_and_spoken() -> None:
    assert rounded(2 / 3) == 0.6667
    assert percent(2 / 3) == '66.7 %'
    assert percent(np.nan) == '-'


def test_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r'\(2, 2\), labels \(2, 3\)'):
        ConfusionMatrix(2).add(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))
