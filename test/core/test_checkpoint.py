from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from lemore_core import checkpoint
from lemore_core.checkpoint import CheckpointError, ModelCard
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import variant
from lemore_core.taxonomy import load_taxonomy


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        name='small-one',
        config=variant('nano', classes=11, height=64, width=96),
        taxonomy=load_taxonomy('camvid'),
        licence='CC0',
        metrics={'mean_iou': 0.5},
        training={'epochs': '3'},
    )


@pytest.fixture
def saved(card: ModelCard, tmp_path: Path) -> Path:
    path = tmp_path / 'model.safetensors'
    checkpoint.save(path, card, LeMoRe(card.config).state_dict())
    return path


def rewrite(path: Path, **metadata: str) -> None:
    """Change metadata of a checkpoint, keeping its tensors."""
    with safe_open(path, framework='numpy') as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        save_file(tensors, path, metadata={**file.metadata(), **metadata})


def test_a_checkpoint_says_everything_about_itself(saved: Path, card: ModelCard) -> None:
    # other tools leave keys of their own
    rewrite(saved, author='a converter', note='no JSON {')
    assert checkpoint.read_card(saved) == card


def test_weights_come_back_within_half_precision(saved: Path, card: ModelCard) -> None:
    state = LeMoRe(card.config).state_dict()
    checkpoint.save(saved, card, state)
    _, loaded = checkpoint.load(saved)
    for name, tensor in state.items():
        found = loaded.state_dict()[name]
        assert found.dtype == tensor.dtype
        torch.testing.assert_close(found, tensor, rtol=1e-3, atol=1e-6)
    assert not loaded.training


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / 'exploded',))

    path = tmp_path / 'model.pt'
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match='weights_only=True'):
        checkpoint.load(path)
    assert not (tmp_path / 'exploded').exists()


def test_files_of_another_kind_are_named(saved: Path, tmp_path: Path) -> None:
    torch.save({'weight': torch.zeros(2)}, tmp_path / 'pickle.safetensors')
    save_file({'weight': np.zeros(3, np.float32)}, tmp_path / 'other.safetensors')
    content = saved.read_bytes()
    for share in (0.0, 0.001, 0.99):
        path = tmp_path / f'{share}.safetensors'
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(CheckpointError, match=f'{path} is no readable safetensors'):
            checkpoint.load(path)
    for name, expected in (
        ('pickle', 'is no readable safetensors'),
        ('other', 'is no LeMoRe checkpoint'),
        ('gone', 'there is no checkpoint'),
    ):
        with pytest.raises(CheckpointError, match=expected):
            checkpoint.load(tmp_path / f'{name}.safetensors')
    (tmp_path / 'served.onnx').write_bytes(b'onnx')
    with pytest.raises(CheckpointError, match=r'served\.onnx is an ONNX file, .* a \.safetensors'):
        checkpoint.load(tmp_path / 'served.onnx')


def test_tensors_of_another_architecture_are_named(saved: Path) -> None:
    other = variant('tiny', classes=11, height=64, width=96)
    rewrite(saved, network=json.dumps(other.to_dict()))
    with pytest.raises(CheckpointError, match=r'tensor .* (missing|has shape|no place)'):
        checkpoint.load(saved)
    rewrite(saved, network=json.dumps(dataclasses.replace(other, classes=19).to_dict()))
    with pytest.raises(CheckpointError, match="19 classes, dataset 'camvid' has 11"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('network', '{"classes": 11}'),
        ('network', 'not json'),
        ('normalisation', '{"mean": [1, 2, 3], "std": [1, 0, 1]}'),
        ('normalisation', '{"mean": [1, 2, 3], "std": [1, NaN, 1]}'),
        ('normalisation', '{"mean": [1, 2, Infinity], "std": [1, 1, 1]}'),
        ('metrics', '[' * 100_000),
        ('name', '7'),
        ('network', '{"kind": "imported", "classes": 11, "height": 1e400, "width": 3}'),
        ('taxonomy', '{"name": "x", "classes": "abc"}'),
    ],
)
def test_damaged_metadata_is_named(saved: Path, key: str, value: str) -> None:
    rewrite(saved, **{key: value})
    with pytest.raises(CheckpointError, match=r'model\.safetensors'):
        checkpoint.load(saved)


def test_numbers_that_are_none_are_refused(card: ModelCard, saved: Path) -> None:
    for name, value, expected in (
        ('weight', float('nan'), 'holds NaN or infinite numbers'),
        ('running_var', -1.0, 'holds negative variances'),
    ):
        state = LeMoRe(card.config).state_dict()
        chosen = next(key for key in state if key.endswith(name))
        state[chosen].flatten()[0] = value
        checkpoint.save(saved, card, state)
        with pytest.raises(CheckpointError, match=f'tensor {chosen} {expected}'):
            checkpoint.load(saved)


def test_a_failed_save_leaves_what_was_there(saved: Path, card: ModelCard) -> None:
    before = saved.read_bytes()
    shared = torch.zeros(4)  # two names of one tensor are refused by the writer
    with pytest.raises(Exception, match=r'memory|storage|shared'):
        checkpoint.save(saved, card, {'a': shared, 'b': shared})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ['model.safetensors']
