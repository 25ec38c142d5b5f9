"""A small data set whose figures are known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lemore_core.data.datasets import open_dataset
from lemore_core.data.samples import Sample
from lemore_core.evaluation.strategies import Prediction, Predictor
from lemore_core.taxonomy import Taxonomy, load_taxonomy

SIZE = (60, 80)
# of each image's right half, the share of the rows that shows another class than the mask
MISTAKES = {'good': 0.0, 'bad': 1.0, 'middling': 0.5}


class RedIsTheClass:
    """Takes the class from the red channel of an image, and the confidence from the green one."""

    taxonomy: Taxonomy = load_taxonomy('camvid')

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        return Prediction(image[..., 0] // 20, np.ascontiguousarray(image[..., 1]))


@pytest.fixture
def predictor() -> Predictor:
    """A predictor that needs no network."""
    return RedIsTheClass()


@pytest.fixture
def small_camvid(tmp_path: Path) -> Path:
    """Return three images of road left and car right; red is 20 times a class, building for the first rows."""
    root = tmp_path / 'camvid'
    for folder in ('val', 'valannot'):
        (root / folder).mkdir(parents=True)
    mask = np.full(SIZE, 3, np.uint8)
    mask[:, 40:] = 8
    mask[:6, :6] = 11  # CamVid's id for unlabelled
    for name, mistakes in MISTAKES.items():
        seen = mask.copy()
        seen[: round(mistakes * SIZE[0]), 40:] = 1
        image = np.dstack([seen * 20, np.full(SIZE, 204, np.uint8), np.zeros(SIZE, np.uint8)])
        cv2.imwrite(str(root / 'val' / f'{name}.png'), image[..., ::-1])
        cv2.imwrite(str(root / 'valannot' / f'{name}.png'), mask)
    return root


@pytest.fixture
def samples(small_camvid: Path) -> list[Sample]:
    """The three images: bad, good, middling."""
    return open_dataset('camvid', small_camvid).samples('val')
