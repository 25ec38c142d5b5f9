from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lemore_core import checkpoint
from lemore_core.deploy.graph import MatrixPool, load_graph
from lemore_core.deploy.sizing import network_size


@pytest.mark.parametrize('size', [(90, 120), (45, 60), (23, 31), (12, 15)])
def test_matrix_pooling_is_adaptive_pooling(size: tuple[int, int]) -> None:
    pool = MatrixPool([size, (90, 31)], (6, 8))
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(pool(x), nn.AdaptiveAvgPool2d((6, 8))(x))


@pytest.mark.parametrize('size', [(96, 128), (128, 192), (100, 130)])
def test_the_serving_graph_is_the_network(
    untrained_checkpoint: Path, size: tuple[int, int]
) -> None:
    pixels = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    card, model = checkpoint.load(untrained_checkpoint)
    mean, std = torch.tensor(card.mean), torch.tensor(card.std)
    x = ((pixels.float() - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = model.resized(*size)(x).permute(0, 2, 3, 1)
        found = load_graph(untrained_checkpoint, *size)(pixels)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    ('image', 'expected'),
    [
        ((360, 480), (360, 480)),  # as trained
        ((480, 640), (360, 480)),  # the same aspect
        ((540, 960), (320, 576)),
        ((1080, 1920), (320, 576)),
        ((480, 480), (384, 384)),
        ((1920, 1080), (576, 320)),
        ((1, 4000), (64, 2048)),
    ],
)
def test_a_picture_keeps_its_aspect(image: tuple[int, int], expected: tuple[int, int]) -> None:
    assert network_size((360, 480), image) == expected
