from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from lemore_core import checkpoint
from lemore_core.checkpoint import CheckpointError, ModelCard
from lemore_core.model.cartesian_encoder import resample_axis_weight
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import variant
from lemore_core.taxonomy import Taxonomy
from lemore_core.training.start import TrainingError, initialise, starting_model


def lemore(seed: int, *, model: str = 'nano', **shape: Any) -> LeMoRe:
    torch.manual_seed(seed)
    network = LeMoRe(variant(model, **{'classes': 5, 'height': 64, 'width': 96, **shape}))
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.1 * torch.randn_like(tensor))
    return network


@pytest.fixture(scope='module')
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('start') / 'start.safetensors'
    network = lemore(0)
    names = tuple('abcde')
    taxonomy = Taxonomy('letters', names, tuple((i, i, i) for i in range(5)))
    checkpoint.save(path, ModelCard('letters', network.config, taxonomy, ''), network.state_dict())
    return path


def test_what_fits_is_copied_axis_weights_resampled_and_a_classifier_starts_anew(
    start: Path,
) -> None:
    # another size, other classes and a part less
    network = lemore(1, height=128, width=64, classes=7, nested_attention=False)
    before = copy.deepcopy(network.state_dict())
    lines: list[str] = []
    initialise(network, start, lines.append)
    expected = checkpoint.load(start)[1].state_dict()
    kept, resampled = {'head.3.weight', 'head.3.bias'}, 0
    assert kept < before.keys() < expected.keys()
    for name, tensor in network.state_dict().items():
        value = before[name] if name in kept else expected[name]
        if name.endswith(('frontal.weight', 'lateral.weight')):
            resampled += value.shape != tensor.shape
            value = resample_axis_weight(value, tensor.shape[0])
        assert torch.equal(tensor, value), name
    assert resampled == 8  # both axes changed, at four stages
    assert lines == ['starting from start.safetensors; head.3 start anew']
    lines.clear()
    initialise(lemore(1), start, lines.append)
    assert lines == ['starting from start.safetensors']


def test_a_start_sets_the_model_size(start: Path) -> None:
    assert starting_model(start, None) == starting_model(start, 'nano') == 'nano'
    with pytest.raises(TrainingError, match=r'start\.safetensors is a nano, --model is tiny'):
        starting_model(start, 'tiny')


def test_another_model_size_is_refused_and_left_alone(start: Path, tmp_path: Path) -> None:
    network = lemore(1, model='tiny')
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(TrainingError, match=r'holds letters, whose stem.* the same --model'):
        initialise(network, start, lambda _: None)
    deeper = dataclasses.replace(lemore(1).config, bottleneck_blocks=2)
    with pytest.raises(TrainingError, match=r'holds letters, whose bottleneck\.1\.'):
        initialise(LeMoRe(deeper), start, lambda _: None)
    with pytest.raises(CheckpointError, match='there is no checkpoint'):
        initialise(network, tmp_path / 'none.safetensors', lambda _: None)
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
