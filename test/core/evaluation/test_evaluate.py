from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lemore_core.data.samples import DataError, Sample
from lemore_core.evaluation.evaluate import ImageResult, evaluate
from lemore_core.evaluation.metrics import ConfusionMatrix
from lemore_core.evaluation.strategies import Predictor
from lemore_core.taxonomy import load_taxonomy

ROAD, CAR, BUILDING = 3, 8, 1
CAMVID = load_taxonomy('camvid')


def test_the_figures_of_a_small_data_set(predictor: Predictor, samples: list[Sample]) -> None:
    result = evaluate(predictor, samples)
    half, road = 40 * 60, 3 * (40 * 60 - 36)
    counts = np.zeros((11, 11), int)
    counts[ROAD, ROAD] = road
    counts[CAR, CAR], counts[CAR, BUILDING] = 1.5 * half, 1.5 * half
    assert np.array_equal(result.scores.matrix.counts, counts), 'unlabelled pixels are not counted'
    figures = result.figures
    assert figures['iou']['road'] == 1.0
    assert figures['iou']['car'] == 0.5
    assert figures['iou']['building'] == 0.0
    assert figures['iou']['sky'] is None
    assert figures['mean_iou'] == 0.5
    assert figures['mean_accuracy'] == 0.75
    assert figures['pixel_accuracy'] == round((road + 1.5 * half) / (road + 3 * half), 4)
    assert [image.name for image in result.images] == ['val/bad', 'val/middling', 'val/good']
    assert [image.mean_iou for image in result.images] == [0.5, 0.75, 1.0]
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert values['per_image'][0]['iou'] == {'building': 0.0, 'road': 1.0, 'car': 0.0}
    assert sum(b['pixels'] for b in values['calibration']['bins']) == 3 * (4800 - 36)
    assert figures['calibration_error'] == pytest.approx(0.8 - figures['pixel_accuracy'], abs=1e-3)


def test_an_image_without_labels_has_no_figures_and_comes_last() -> None:
    full = ConfusionMatrix(2)
    full.add(np.zeros((1, 1), int), np.ones((1, 1), int))
    nothing = ImageResult.from_matrix(Path('a.png'), ConfusionMatrix(2))
    wrong = ImageResult.from_matrix(Path('b.png'), full)
    assert np.isnan(nothing.mean_iou)
    assert np.isnan(nothing.pixel_accuracy)
    assert wrong.mean_iou == 0
    assert sorted([nothing, wrong], key=lambda r: r.badness) == [wrong, nothing]


def test_a_mask_of_another_size_is_named(predictor: Predictor, samples: list[Sample]) -> None:
    cv2.imwrite(str(samples[0].mask), np.zeros((60, 81), np.uint8))
    with pytest.raises(DataError, match=r'bad\.png is \(60, 81\), its image \(60, 80\)'):
        evaluate(predictor, samples)


def test_labels_of_other_classes_are_named(predictor: Predictor, samples: list[Sample]) -> None:
    predictor.taxonomy = load_taxonomy('cityscapes')
    with pytest.raises(DataError, match=r"11 classes of 'camvid' .* the 19 of 'cityscapes'"):
        evaluate(predictor, samples)
    other = ('lorry', *CAMVID.classes[1:])
    predictor.taxonomy = dataclasses.replace(CAMVID, name='mine', classes=other)
    with pytest.raises(DataError, match=r"'mine' \(lorry, building, pole, \.\.\.\)"):
        evaluate(predictor, samples)
