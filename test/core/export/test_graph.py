from __future__ import annotations

import pytest
import torch

from lemore_core import checkpoint
from lemore_core.export.graph import load_graph
from lemore_core.inference.sizes import network_size
from lemore_core.segmenter import resolve_checkpoint


@pytest.mark.parametrize('folded', [True, False])
@pytest.mark.parametrize('size', [(96, 128), (128, 192), (100, 130)])
def test_the_serving_graph_is_the_network(size: tuple[int, int], folded: bool) -> None:
    path = resolve_checkpoint('nano')
    pixels = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    card, model = checkpoint.load(path)
    mean, std = torch.tensor(card.mean), torch.tensor(card.std)
    x = ((pixels.float() - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = model.resized(*size)(x).permute(0, 2, 3, 1)
        found = load_graph(path, *size, folded=folded)(pixels)
    assert (found - expected).abs().max() <= 1e-4 * (expected.max() - expected.min())


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
def test_a_image_keeps_its_aspect(image: tuple[int, int], expected: tuple[int, int]) -> None:
    assert network_size((360, 480), image) == expected
