from __future__ import annotations

import numpy as np
import pytest

from lemore_core.data.augment import (
    MEDIAN,
    Augmentation,
    add_noise,
    color_matrix,
    compress,
    relight,
    response,
)


@pytest.mark.parametrize('scale', [(0.5, 0.5), (1.0, 1.0), (2.0, 2.0), (0.5, 2.0)])
def test_image_and_mask_stay_together(scale: tuple[float, float]) -> None:
    # the mask repeats the image's brightness, so a shift between the two would show
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 30:60] = 1
    image = np.where(mask[..., None] == 1, 220, 20).astype(np.uint8).repeat(3, axis=2)
    augmentation = Augmentation(48, 64, scale, fill=(20, 20, 20))
    for seed in range(20):
        out, labels = augmentation(image, mask, np.random.default_rng(seed))
        assert out.shape == (48, 64, 3)
        assert labels.shape == (48, 64)
        if (labels == 1).any() and (labels == 0).any():
            assert out[labels == 1].mean() > out[labels == 0].mean() + 50


@pytest.mark.parametrize(
    ('size', 'scale', 'resize', 'fitted'),
    [
        ((20, 20), 1.0, None, (20, 20)),
        ((60, 120), 1.0, (60, 40), (30, 60)),  # the long side decides
        ((80, 100), 1.0, (60, 40), (40, 50)),  # the short side decides
        ((120, 60), 1.0, (60, 40), (60, 30)),  # an image that stands is fitted as one that lies
        ((100, 80), 1.0, (40, 60), (50, 40)),  # in whichever order the two are given
        ((20, 30), 1.0, (60, 40), (40, 60)),  # small ones grow
        ((80, 100), 0.5, (60, 40), (20, 25)),  # the random scale comes on top
    ],
)
def test_images_are_fitted_and_padded_with_unlabelled_pixels(
    size: tuple[int, int], scale: float, resize: tuple[int, int] | None, fitted: tuple[int, int]
) -> None:
    image, mask = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
    augmentation = Augmentation(64, 64, (scale, scale), resize)
    _, labels = augmentation(image, mask, np.random.default_rng(0))
    # in the upper left before the flip
    rows, columns = np.nonzero(labels != 255)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == fitted
    assert len(rows) == fitted[0] * fitted[1]


def test_a_small_image_lies_anywhere_in_the_crop_where_its_place_shall_say_nothing() -> None:
    image, mask = np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint8)
    augmentation = Augmentation(64, 64, (1.0, 1.0), light=True)
    corners = set()
    for seed in range(20):
        _, labels = augmentation(image, mask, np.random.default_rng(seed))
        rows, columns = np.nonzero(labels == 0)
        assert len(rows) == 20 * 20
        corners.add((rows.min(), columns.min()))
    assert len(corners) > 15


def street(median: int) -> np.ndarray:
    random = np.random.default_rng(0)
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
        assert (out.shape, out.dtype) == (image.shape, np.uint8)
        # grey stays grey whatever the hue and saturation
        matrix = color_matrix(np.random.default_rng(seed))
        np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-6)


def test_noise_and_compression_are_as_strong_as_wanted() -> None:
    image = np.full((100, 100, 3), 128, np.uint8)
    noisy = add_noise(image, 6.0, np.random.default_rng(3))
    assert noisy.astype(float).std() == pytest.approx(6, rel=0.1)
    low, high = (np.abs(compress(noisy, q).astype(int) - noisy).mean() for q in (20, 80))
    assert low > high > 0


@pytest.mark.parametrize('seed', range(8))
def test_soft_labels_are_cropped_and_mirrored_as_the_mask(seed: int) -> None:
    mask = np.zeros((96, 128), np.uint8)
    mask[30:70, 50:110] = 1
    image = np.repeat(mask[..., None] * 200, 3, 2)
    ids = mask[2::4, 2::4]
    soft = np.stack([[ids, 1 - ids], [np.full_like(ids, 200), np.full_like(ids, 55)]])
    augmentation = Augmentation(64, 96, (0.4, 1.5), light=True)
    _, labels, cropped = augmentation(image, mask, np.random.default_rng(seed), soft)
    assert cropped.shape == (2, 2, 16, 24)
    at = labels[2::4, 2::4]
    known = cropped[1].sum(0) > 0
    # along edges the nearest of both grids may differ
    assert (known == (at != 255)).mean() > 0.9
    assert (cropped[0, 0] == at)[known & (at != 255)].mean() > 0.9
