"""Writes the files of tiny data sets."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write pixels below tmp_path: rows of numbers, or rows of RGB colours."""

    def write(name: str, pixels: Sequence[Sequence[object]], dtype: type = np.uint8) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.array(pixels, dtype)
        assert cv2.imwrite(str(path), values if values.ndim == 2 else values[..., ::-1])
        return path

    return write


@pytest.fixture
def put_image(put: Put) -> Put:
    """Write a red image of a height and width."""

    def write(name: str, height: int, width: int) -> Path:
        return put(name, [[(250, 0, 0)] * width] * height)

    return write


@pytest.fixture
def put_pair(put: Put, put_image: Put) -> Put:
    """Write an image, and below another name its mask of these pixels."""

    def write(
        image: str, mask: str, pixels: Sequence[Sequence[object]], dtype: type = np.uint8
    ) -> Path:
        put_image(image, len(pixels), len(pixels[0]))
        return put(mask, pixels, dtype)

    return write
