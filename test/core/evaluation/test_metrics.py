from __future__ import annotations

import json
import math

import numpy as np
import pytest

from lemore_core.evaluation.metrics import Calibration, ConfusionMatrix, Scores, TimeSeries


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


def test_a_class_that_is_only_predicted_lowers_the_iou_but_has_no_accuracy() -> None:
    matrix = ConfusionMatrix(3)
    matrix.add(np.array([[0, 0, 0, 0]]), np.array([[0, 0, 0, 1]]))
    np.testing.assert_array_equal(matrix.iou, [0.75, 0, np.nan])
    np.testing.assert_array_equal(matrix.accuracy, [0.75, np.nan, np.nan])
    assert (matrix.mean_iou, matrix.mean_accuracy) == (0.375, 0.75)


@pytest.mark.filterwarnings('error')
def test_nothing_labelled_gives_no_figures_and_no_warnings() -> None:
    scores = Scores(2)
    nothing, labels = np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8)
    scores.add(nothing, labels, labels)
    values = scores.to_dict(('a', 'b'))
    none = ('mean_iou', 'pixel_accuracy', 'mean_accuracy', 'calibration_error')
    assert {values[name] for name in none} == {None}
    assert values['iou'] == values['accuracy'] == {'a': None, 'b': None}
    json.dumps(values, allow_nan=False)


def test_the_calibration_agrees_with_torchmetrics() -> None:
    metrics = pytest.importorskip('torchmetrics.classification', reason='no torchmetrics')
    import torch

    random = np.random.default_rng(0)
    truth = random.choice([0, 1, 2, 3, 255], (40, 50)).astype(np.uint8)
    probabilities = random.dirichlet((0.3,) * 4, (40, 50))
    labels = probabilities.argmax(-1).astype(np.uint8)
    truth = np.where(random.random(truth.shape) < 0.5, labels, truth)
    confidence = np.rint(255 * probabilities.max(-1)).astype(np.uint8)
    # on a bin's bound the sides differ by float rounding, and 1.0 has a bin of its own there
    confidence[confidence % 17 == 0] -= 1
    calibration = Calibration(4)
    calibration.add(truth, labels, confidence)
    top = torch.from_numpy(confidence / 255.0)
    rows = ((1 - top) / 3)[..., None].repeat(1, 1, 4)
    rows.scatter_(-1, torch.from_numpy(labels).long()[..., None], top[..., None])
    expected = metrics.MulticlassCalibrationError(4, n_bins=15, ignore_index=255)(
        rows.reshape(-1, 4), torch.from_numpy(truth).long().ravel()
    )
    assert calibration.expected_error() == pytest.approx(float(expected), rel=1e-5)
    assert calibration.expected_error() > 0.1


def test_a_known_gap() -> None:
    calibration = Calibration(2)
    truth = np.array([[0, 0, 0, 1, 255]], np.uint8)
    labels = np.zeros((1, 5), np.uint8)
    calibration.add(truth, labels, np.array([[255, 255, 0, 0, 9]], np.uint8))
    # sure and right twice: no gap; not at all sure, and right one time of two: a gap of a half
    assert calibration.expected_error() == pytest.approx(0.25)
    bins = calibration.bins()
    assert bins.counts.tolist() == [2] + 13 * [0] + [2]
    assert (bins.accuracy[0], bins.accuracy[-1]) == (0.5, 1.0)
    assert (bins.confidence[0], bins.confidence[-1]) == (0.0, 1.0)
    assert np.isnan(bins.accuracy[1:-1]).all()


def test_few_frames_are_kept_as_they_are() -> None:
    series = TimeSeries(('a', 'b'))
    series.add(0.0, (1.0, math.nan))
    series.add(0.1, (3.0, 0.5))
    assert series.mean() == {'a': 2.0, 'b': 0.5}
    columns = {'seconds': [0.0, 0.1], 'a': [1.0, 3.0], 'b': [None, 0.5]}
    assert series.to_dict() == {'frames_per_row': 1, **columns}


def test_neighbours_share_points() -> None:
    series = TimeSeries(('a', 'never'))
    values = np.random.default_rng(0).random(100)
    for index, value in enumerate(values):
        series.add(index, (value, math.nan))
    points = series.points(7)
    assert points.frames == 15
    assert points.seconds.tolist() == [7, 22, 37, 52, 67, 82, 94.5]
    assert points.mean['a'][-1] == pytest.approx(values[90:].mean())
    assert series.mean()['a'] == pytest.approx(values.mean())
    assert 'never' not in series.to_dict()
