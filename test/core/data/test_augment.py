from __future__ import annotations

import numpy as np
import pytest

from lemore_core.data.augment import Augmentation


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


def test_what_is_padded_is_unlabelled() -> None:
    image, mask = np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint8)
    _, labels = Augmentation(64, 64, (1.0, 1.0))(image, mask, np.random.default_rng(0))
    assert np.count_nonzero(labels == 255) == 64 * 64 - 20 * 20


def test_the_same_seed_gives_the_same_pair() -> None:
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (50, 60, 3), np.uint8)
    mask = random.integers(0, 11, (50, 60), np.uint8)
    augmentation = Augmentation(32, 32)
    first = augmentation(image, mask, np.random.default_rng(7))
    again = augmentation(image, mask, np.random.default_rng(7))
    other = augmentation(image, mask, np.random.default_rng(8))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
    ('size', 'resize', 'fitted'),
    [
        ((60, 120), (60, 40), (30, 60)),  # the long side decides
        ((80, 100), (60, 40), (40, 50)),  # the short side decides
        ((120, 60), (60, 40), (60, 30)),  # an image that stands is fitted as one that lies
        ((100, 80), (40, 60), (50, 40)),  # in whichever order the two are given
        ((20, 30), (60, 40), (40, 60)),  # small ones grow
        ((30, 20), (60, 60), (60, 40)),
    ],
)
def test_images_are_fitted_whichever_way_they_lie(
    size: tuple[int, int], resize: tuple[int, int], fitted: tuple[int, int]
) -> None:
    image, mask = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
    augmentation = Augmentation(64, 64, (1.0, 1.0), resize)
    _, labels = augmentation(image, mask, np.random.default_rng(0))
    # what is not padding is the whole fitted image, in the upper left before the flip
    rows, columns = np.nonzero(labels != 255)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == fitted
    assert np.count_nonzero(labels != 255) == fitted[0] * fitted[1]


def test_the_random_scale_comes_on_top() -> None:
    image, mask = np.zeros((80, 100, 3), np.uint8), np.zeros((80, 100), np.uint8)
    augmentation = Augmentation(64, 64, (0.5, 0.5), (60, 40))
    _, labels = augmentation(image, mask, np.random.default_rng(0))
    assert np.count_nonzero(labels != 255) == 20 * 25


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
