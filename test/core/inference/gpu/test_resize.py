"""Resizing on a device against OpenCV, which the CPU pipeline uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lemore_core.images.image import CHANNELS, to_network
from lemore_core.inference.gpu.resize import DeviceResize

Bytes = NDArray[np.uint8]


def check(source: tuple[int, int], target: tuple[int, int], encoding: str, share: float) -> None:
    shape = source if encoding == 'mono8' else (*source, CHANNELS[encoding])
    noise = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    resize = DeviceResize(source, encoding, target, 'cpu')
    found = resize(torch.from_numpy(noise.reshape(2, *source, -1)))
    assert (found.dtype, found.shape) == (torch.uint8, (2, *target, 3))
    assert found.is_contiguous()
    expected = np.stack([to_network(image, encoding, *target) for image in noise])
    difference = np.abs(found.numpy().astype(int) - expected)
    assert difference.max() <= 1
    # OpenCV interpolates in integers of 11 bits
    assert np.mean(difference == 0) >= share


@pytest.mark.parametrize('encoding', list(CHANNELS))
@pytest.mark.parametrize(
    ('source', 'share'),
    [
        pytest.param((30, 45), 0.999, id='both smaller: averaged'),
        pytest.param((48, 96), 0.99, id='whole numbers'),
        pytest.param((12, 18), 0.85, id='both larger: interpolated'),
        pytest.param((10, 50), 0.85, id='one of each'),
        pytest.param((16, 50), 0.85, id='the same height'),
        pytest.param((16, 24), 1.0, id='the same size'),
    ],
)
def test_it_is_what_opencv_does_but_for_rounding(
    source: tuple[int, int], share: float, encoding: str
) -> None:
    check(source, (16, 24), encoding, share)


@pytest.mark.parametrize('seed', range(20))
def test_any_sizes(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width, rows, columns = (int(n) for n in random.integers(1, 90, 4))
    check((height, width), (rows, columns), 'bgr8', 0.0)


@pytest.mark.parametrize('source', [(1080, 1920), (480, 640), (540, 960)])
def test_cameras(source: tuple[int, int]) -> None:
    check(source, (320, 576), 'bgr8', 0.999)


def test_the_pixels_are_left_alone() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 60, 90, 3), np.uint8))
    before = pixels.clone()
    DeviceResize((60, 90), 'rgb8', (32, 48), 'cpu')(pixels)
    assert torch.equal(pixels, before)
