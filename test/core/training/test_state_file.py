from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lemore_core.checkpoint import CheckpointError
from lemore_core.training.state_file import SafeStateFile, StateError


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    weight = torch.arange(6.0).view(2, 3)
    state = {
        'epoch': 3,
        'rate': 1e-3,
        'done': False,
        'nothing': None,
        'text': 'ä',
        'loops': {'empty': {}, 'list': [1, [2.5, None]]},
        'optimizer': {'state': {0: {'step': torch.tensor(7.0)}, 12: {'betas': (0.9, 0.999)}}},
        'weights': {'a': weight, 'same': weight, 'view': weight.t(), 'whole': torch.tensor([1, 2])},
        'empty': (),
        'half': torch.ones(2, dtype=torch.bfloat16),
    }
    path = tmp_path / 'run.safetensors'
    SafeStateFile().save_checkpoint(state, path)
    back = SafeStateFile().load_checkpoint(path)
    plain = ('epoch', 'rate', 'done', 'nothing', 'text', 'loops', 'empty')
    assert {name: back[name] for name in plain} == {name: state[name] for name in plain}
    assert list(back) == list(state)
    assert back['done'] is False
    assert list(back['optimizer']['state']) == [0, 12]
    assert back['optimizer']['state'][12] == {'betas': (0.9, 0.999)}
    assert back['optimizer']['state'][0]['step'] == torch.tensor(7.0)
    assert torch.equal(back['weights']['a'], weight)
    assert torch.equal(back['weights']['same'], weight)
    assert torch.equal(back['weights']['view'], weight.t())
    assert back['weights']['whole'].dtype == torch.int64
    assert back['half'].dtype == torch.bfloat16


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    path = tmp_path / 'run.safetensors'
    SafeStateFile().save_checkpoint({'a': torch.ones(2), 'b': 1}, path)
    assert [tensor.tolist() for tensor in load_file(path).values()] == [[1.0, 1.0]]
    SafeStateFile().save_checkpoint({'a': torch.zeros(3)}, path)
    assert SafeStateFile().load_checkpoint(path)['a'].tolist() == [0, 0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ['run.safetensors']
    SafeStateFile().remove_checkpoint(path)
    SafeStateFile().remove_checkpoint(path)
    assert not path.exists()


def test_what_is_no_state_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'run.safetensors'
    with pytest.raises(StateError, match=r'run\.safetensors is no readable state'):
        SafeStateFile().load_checkpoint(path)
    SafeStateFile().save_checkpoint({'a': torch.ones(200)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StateError, match=r'run\.safetensors is no readable state'):
        SafeStateFile().load_checkpoint(path)
    save_file({'a': torch.ones(2)}, path)
    with pytest.raises(StateError, match='is no state of a run: its format is None'):
        SafeStateFile().load_checkpoint(path)


def test_what_json_cannot_hold_is_refused_and_nothing_written(tmp_path: Path) -> None:
    path = tmp_path / 'run.safetensors'
    with pytest.raises(StateError, match='holds a PosixPath, which cannot be written as JSON'):
        SafeStateFile().save_checkpoint({'callbacks': [{'folder': path}]}, path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_costs_nothing_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / 'run.safetensors'
    SafeStateFile().save_checkpoint({'step': 1}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # no file may grow beyond this, which fails in the same call as a full disk does
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(CheckpointError, match='cannot be written, what was there is kept'):
            SafeStateFile().save_checkpoint({'a': torch.ones(2000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert SafeStateFile().load_checkpoint(path) == {'step': 1}
    assert [file.name for file in tmp_path.iterdir()] == ['run.safetensors']
