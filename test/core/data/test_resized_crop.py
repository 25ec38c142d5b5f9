from __future__ import annotations

import numpy as np
import pytest

from lemore_core.data.resized_crop import ResizedCrop, center_crop


def test_windows_keep_to_the_shares_and_ratios() -> None:
    crop = ResizedCrop(32, (0.2, 0.6), (0.5, 2.0))
    windows = [crop.window(100, 150, np.random.default_rng(i)) for i in range(300)]
    shares = np.array([h * w / (100 * 150) for h, w in windows])
    ratios = np.array([w / h for h, w in windows])
    assert 0.19 < shares.min() < 0.23
    assert 0.55 < shares.max() < 0.61
    assert 0.49 < ratios.min() < 0.55
    assert 1.8 < ratios.max() < 2.05


@pytest.mark.parametrize(('size', 'expected'), [((10, 1000), (10, 13)), ((1000, 10), (13, 10))])
def test_a_narrow_image_still_has_a_window(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    crop = ResizedCrop(8, (1.0, 1.0))
    assert crop.window(*size, np.random.default_rng(0)) == expected


def test_a_crop_is_a_function_of_its_random_numbers() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    crop = ResizedCrop(16)
    first, again, other = (crop(image, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.shape == (16, 16, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_middle_is_what_validation_sees() -> None:
    # an image of 64 x 128 whose columns say where they are
    image = np.tile(np.arange(128, dtype=np.uint8)[None, :, None], (64, 1, 3))
    middle = center_crop(image, 56)
    assert middle.shape == (56, 56, 3)
    assert np.array_equal(middle[0, :, 0], np.arange(36, 92))
