"""The folded network against the network as it was trained, logit by logit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lemore_core import checkpoint
from lemore_core.export.fold import fold, load_graph
from lemore_core.images.image import to_network
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import VARIANTS, LeMoReConfig, variant
from lemore_core.segmenter import resolve_checkpoint

STD = (58.0, 31.0, 77.0)
BOUND = 1e-4


def randomised(config: LeMoReConfig) -> LeMoRe:
    """Return a network whose every number matters: no BatchNorm is near the identity."""
    torch.manual_seed(0)
    model = LeMoRe(config)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.4)
            nn.init.normal_(module.running_mean, std=0.4)
            nn.init.uniform_(module.running_var, 0.3, 2)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.4)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=1.2 / parameter[0].numel() ** 0.5)
    return model.eval()


def difference(expected: Tensor, found: Tensor) -> float:
    assert expected.shape == found.shape
    return float((expected - found).abs().max() / (expected.max() - expected.min()))


@torch.no_grad()
def folding_error(config: LeMoReConfig) -> float:
    model = randomised(config)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    centred = 90 * torch.randn(2, 3, config.height, config.width)
    found, _ = fold(model, STD)(centred)
    expected = model(centred / torch.tensor(STD).view(1, 3, 1, 1))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), f'folding changed {name}'
    # a network that says the same of every pixel would hide what folding does at borders
    assert expected.std(dim=(2, 3)).min() > 0.01 * expected.std()
    return difference(expected, found)


# whole and cut windows of pooling, few and many pixels, odd sides at 1/4 and 1/8
SIZES = (128, 192), (96, 160), (90, 120), (360, 480), (320, 576)
SWITCHES = (
    ['transverse'],
    ['frontal'],
    ['lateral'],
    ['frontal', 'lateral'],
    ['channel_attention'],
    ['nested_attention'],
    ['frontal', 'lateral', 'channel_attention', 'nested_attention'],
)


@pytest.mark.parametrize(
    ('name', 'size', 'off'),
    [
        *(('tiny', size, []) for size in SIZES),
        *((name, (100, 130), []) for name in VARIANTS),
        *(('tiny', size, off) for size in ((128, 128), (90, 120)) for off in SWITCHES),
    ],
)
@pytest.mark.parametrize('fusion_at_head', [False, True])
def test_every_variant_keeps_its_logits(
    name: str, size: tuple[int, int], off: list[str], fusion_at_head: bool
) -> None:
    switches = {'fusion_at_head': fusion_at_head, **dict.fromkeys(off, False)}
    config = variant(name, classes=7, height=size[0], width=size[1], **switches)
    assert folding_error(config) <= BOUND


@pytest.mark.parametrize(
    ('name', 'size'),
    [('nano', (100, 130)), ('nano', (320, 576)), ('tiny', (320, 576)), ('tiny', (360, 480))],
)
def test_the_serving_graph_is_the_network_on_images(
    clip_frames: list[NDArray[np.uint8]], name: str, size: tuple[int, int]
) -> None:
    path = resolve_checkpoint(name)
    card, model = checkpoint.load(path)
    images = np.stack([to_network(frame, 'bgr8', *size) for frame in clip_frames[:2]])
    pixels = torch.from_numpy(images)
    x = ((pixels.float() - torch.tensor(card.mean)) / torch.tensor(card.std)).permute(0, 3, 1, 2)
    graph = load_graph(path, *size)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in graph.modules())
    with torch.no_grad():
        expected = model.resized(*size)(x).permute(0, 2, 3, 1)
        logits, descriptors = graph(pixels)
        assert difference(expected, logits) <= BOUND
        _, tokens = model.resized(*size).encode(x)
        parts = [tokens.mean((2, 3)), tokens.std((2, 3), correction=0)]
        assert difference(torch.cat(parts, 1), descriptors) <= BOUND
