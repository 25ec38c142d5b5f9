from __future__ import annotations

import numpy as np
import pytest

from lemore_core.data.augment import MEDIAN, add_noise, color_matrix, compress, relight, response


def street(median: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    grey = np.clip(random.normal(median, 10, (60, 80, 1)), 0, 255)
    return grey.astype(np.uint8).repeat(3, axis=2)


@pytest.mark.parametrize('median', [32, 110])
def test_the_light_reaches_from_dusk_to_day(median: int) -> None:
    image = street(median)
    seeds = [np.random.default_rng(seed) for seed in range(200)]
    medians = [float(np.median(relight(image, seed))) for seed in seeds]
    assert np.percentile(medians, 10) < 45
    assert np.percentile(medians, 90) > 90
    assert np.median(medians) == pytest.approx(np.prod(MEDIAN) ** 0.5, rel=0.35)


@pytest.mark.parametrize('median', [0, 20, 128, 255])
def test_an_image_keeps_its_shape_and_its_order_of_brightness(median: int) -> None:
    image = street(median)
    for seed in range(20):
        curve = response(image, np.random.default_rng(seed))
        assert curve.shape == (1, 256, 3)
        assert np.all(np.diff(curve[0].astype(int), axis=0) >= 0)
        out = relight(image, np.random.default_rng(seed))
        assert out.shape == image.shape
        assert out.dtype == np.uint8


def test_grey_stays_grey_whatever_the_hue_and_saturation() -> None:
    for seed in range(10):
        matrix = color_matrix(np.random.default_rng(seed))
        np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-6)


def test_noise_is_as_strong_as_asked_and_follows_the_seed() -> None:
    image = np.full((100, 100, 3), 128, np.uint8)
    noisy = add_noise(image, 6.0, np.random.default_rng(3))
    assert noisy.astype(float).std() == pytest.approx(6, rel=0.1)
    assert np.array_equal(noisy, add_noise(image, 6.0, np.random.default_rng(3)))
    assert not np.array_equal(noisy, add_noise(image, 6.0, np.random.default_rng(4)))


def test_a_low_quality_costs_more_detail() -> None:
    image = street(120)
    low, high = (np.abs(compress(image, q).astype(int) - image).mean() for q in (20, 80))
    assert low > high > 0
