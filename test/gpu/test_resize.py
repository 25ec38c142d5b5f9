"""Resizing on a device against OpenCV, which the CPU pipeline uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lemore_core.images.image import CHANNELS, to_network
from lemore_core.inference.gpu.resize import DeviceResize

Size = tuple[int, int]


def check(device: torch.device, source: Size, target: Size, encoding: str, share: float) -> None:
    shape = source if encoding == 'mono8' else (*source, CHANNELS[encoding])
    noise = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    pixels = torch.from_numpy(noise.reshape(2, *source, -1)).to(device)
    before = pixels.clone()
    found = DeviceResize(source, encoding, target, device)(pixels)
    assert torch.equal(pixels, before)
    assert (found.dtype, found.shape) == (torch.uint8, (2, *target, 3))
    assert found.is_contiguous()
    expected = np.stack([to_network(image, encoding, *target) for image in noise])
    difference = np.abs(found.cpu().numpy().astype(int) - expected)
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
    device: torch.device, source: Size, share: float, encoding: str
) -> None:
    check(device, source, (16, 24), encoding, share)


@pytest.mark.parametrize('seed', range(20))
def test_any_sizes(device: torch.device, seed: int) -> None:
    height, width, rows, columns = np.random.default_rng(seed).integers(1, 90, 4).tolist()
    check(device, (height, width), (rows, columns), 'bgr8', 0.0)


@pytest.mark.parametrize('source', [(1080, 1920), (480, 640), (540, 960)])
def test_cameras(device: torch.device, source: Size) -> None:
    check(device, source, (320, 576), 'bgr8', 0.999)
