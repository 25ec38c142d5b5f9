"""Images of whole classes that a small network tells apart in seconds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

CLASSES = ('bricks', 'grass', 'sky')


@pytest.fixture(scope='session')
def textures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty images of red checks, green stripes and blue noise, laid out as ImageNet."""
    root = tmp_path_factory.mktemp('textures')
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:72, :96] // 6 % 2
    patterns = {'bricks': rows ^ columns, 'grass': columns, 'sky': np.ones_like(rows)}
    for split, count in (('train', 8), ('val', 2)):
        for channel, (name, pattern) in enumerate(patterns.items()):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = np.full((72, 96, 3), 60)
                image[..., 2 - channel] += 120 * pattern
                image += random.integers(-30, 30, image.shape)
                cv2.imwrite(str(folder / f'{i}.JPEG'), image.astype(np.uint8))
    return root
