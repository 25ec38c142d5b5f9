from __future__ import annotations

import json

import numpy as np
import pytest

from lemore_core.evaluation.calibration import Calibration


def test_it_agrees_with_torchmetrics() -> None:
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


def test_a_bin_holds_its_lower_bound() -> None:
    calibration = Calibration(2)
    same = np.zeros((1, 4), np.uint8)
    calibration.add(same, same, np.array([[16, 17, 33, 34]], np.uint8))
    assert calibration.bins().counts[:3].tolist() == [1, 2, 1]


def test_merged_parts_are_the_whole() -> None:
    random = np.random.default_rng(0)
    whole, left, right = (Calibration(3) for _ in range(3))
    for part in (left, right):
        images = random.integers(0, 3, (2, 8, 8)).astype(np.uint8)
        confidence = random.integers(0, 256, (8, 8)).astype(np.uint8)
        whole.add(*images, confidence)
        part.add(*images, confidence)
    left.merge(right)
    assert left.expected_error() == whole.expected_error() > 0
    assert whole.counts.sum() == 128


@pytest.mark.filterwarnings('error')
def test_nothing_counted_is_no_error_of_zero() -> None:
    values = Calibration(2).to_dict()
    assert values['expected_error'] is None
    assert len(values['bins']) == 15
    json.dumps(values, allow_nan=False)


def test_two_shapes_are_refused() -> None:
    small, large = np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)
    with pytest.raises(ValueError, match=r'confidence \(2, 3\)'):
        Calibration(2).add(small, small, large)
