"""Resizing on a device against OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lemore_core.image import CHANNELS, to_network
from lemore_core.inference.gpu.resize import DeviceResize

Bytes = NDArray[np.uint8]


def images(source: tuple[int, int], encoding: str, *, smooth: bool) -> list[Bytes]:
    random = np.random.default_rng(0)
    shape = source if encoding == 'mono8' else (*source, CHANNELS[encoding])
    found = [random.integers(0, 256, shape, np.uint8) for _ in range(2)]
    return [cv2.GaussianBlur(image, (0, 0), 3) if smooth else image for image in found]


def resized(batch: list[Bytes], encoding: str, target: tuple[int, int]) -> Bytes:
    height, width = batch[0].shape[:2]
    resize = DeviceResize((height, width), encoding, target, 'cpu')
    stacked = np.stack(batch).reshape(len(batch), height, width, -1)
    result = resize(torch.from_numpy(stacked))
    assert result.is_contiguous()
    assert (result.dtype, result.shape) == (torch.uint8, (len(batch), *target, 3))
    return np.asarray(result.numpy())


def check(source: tuple[int, int], target: tuple[int, int], encoding: str, share: float) -> None:
    for smooth in (False, True):
        batch = images(source, encoding, smooth=smooth)
        expected = np.stack([to_network(image, encoding, *target) for image in batch])
        difference = np.abs(resized(batch, encoding, target).astype(int) - expected)
        assert difference.max() <= 1
        assert np.mean(difference == 0) >= share


@pytest.mark.parametrize('encoding', list(CHANNELS))
@pytest.mark.parametrize(
    'source',
    [
        pytest.param((30, 45), id='both smaller: averaged'),
        pytest.param((32, 48), id='exactly half'),
        pytest.param((48, 96), id='whole numbers'),
        pytest.param((12, 18), id='both larger: interpolated'),
        pytest.param((10, 50), id='one of each'),
        pytest.param((16, 50), id='the same height'),
        pytest.param((16, 24), id='the same size'),
    ],
)
def test_it_is_what_opencv_does(source: tuple[int, int], encoding: str) -> None:
    check(source, (16, 24), encoding, 0.9999)


@pytest.mark.parametrize('seed', range(60))
def test_any_sizes(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width, rows, columns = (int(n) for n in random.integers(1, 90, 4))
    check((height, width), (rows, columns), 'bgr8', 0.999)


@pytest.mark.parametrize(
    ('source', 'target'),
    [
        ((480, 640), (512, 512)),
        ((540, 960), (320, 576)),
        ((1080, 1920), (320, 576)),
        ((480, 640), (320, 576)),
        ((720, 1280), (320, 576)),
    ],
)
def test_cameras(source: tuple[int, int], target: tuple[int, int]) -> None:
    check(source, target, 'bgr8', 0.9999)
    check(source, target, 'mono8', 0.9999)


def test_the_pixels_are_left_alone() -> None:
    pixels = torch.from_numpy(np.stack(images((60, 90), 'rgb8', smooth=False)))
    before = pixels.clone()
    DeviceResize((60, 90), 'rgb8', (32, 48), 'cpu')(pixels)
    assert torch.equal(pixels, before)
