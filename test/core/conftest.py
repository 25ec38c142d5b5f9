"""A data set that a small network learns in seconds, and a network that has learned nothing."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lemore_core.segmenter import Segmenter


@pytest.fixture(scope='session')
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of a red square (car) on green ground (road), laid out as CamVid."""
    root = tmp_path_factory.mktemp('squares')
    random = np.random.default_rng(0)
    for split, count in (('train', 8), ('val', 4)):
        (root / split).mkdir()
        (root / f'{split}annot').mkdir()
        for i in range(count):
            mask = np.full((64, 96), 3, np.uint8)
            y, x = random.integers(0, 30), random.integers(0, 50)
            mask[y : y + 32, x : x + 40] = 8
            image = np.where(mask[..., None] == 8, (30, 30, 220), (90, 170, 90))
            image += random.integers(-20, 20, image.shape)
            cv2.imwrite(str(root / split / f'{i}.png'), image.astype(np.uint8))
            cv2.imwrite(str(root / f'{split}annot' / f'{i}.png'), mask)
    return root


@pytest.fixture(scope='module')
def segmenter(untrained_checkpoint: Path) -> Segmenter:
    return Segmenter.load(untrained_checkpoint, backend='torch', device='cpu')
