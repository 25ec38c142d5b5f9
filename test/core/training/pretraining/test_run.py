from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from lemore_core import checkpoint
from lemore_core.checkpoint import CheckpointError
from lemore_core.cli.main import main
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import variant
from lemore_core.segmenter import Segmenter
from lemore_core.training.initialise import initialise
from lemore_core.training.pretraining.recipe import PretrainRecipe, load_pretrain_recipe
from lemore_core.training.pretraining.run import PretrainRun, pretrain
from lemore_core.training.recipe import RecipeError
from lemore_core.training.start import Hardware, TrainingError, reproduced
from lemore_core.training.state_file import SafeStateFile

CPU = Hardware('cpu', workers=0)
FIRST_STEPS = {'iterations': 4, 'validate_every': 4, 'save_every': 2}


def recipe(**changes: object) -> PretrainRecipe:
    few = {
        'model': 'nano',
        'size': 64,
        'batch': 12,
        'learning_rate': 5e-3,
        'warmup': 5,
        'ema_decay': 0.9,
        'dropout': 0.1,
        'drop_path': 0.1,
        'scale': [0.3, 1.0],
        'iterations': 40,
        'validate_every': 20,
        'save_every': 20,
    }
    return load_pretrain_recipe({**few, **changes})


@pytest.fixture(scope='module')
def trained(textures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp('trained')
    lines: list[str] = []
    best = pretrain(PretrainRun(recipe(), textures, output, CPU), lines.append)
    measured = [re.match(r'step (\d+)/40 loss [\d.]+ top-1 ', line) for line in lines[:-1]]
    assert [match[1] for match in measured if match] == ['20', '40']
    return best


def test_an_encoder_learns_and_its_checkpoint_says_what_it_is(
    textures: Path, trained: Path
) -> None:
    card = checkpoint.read_card(trained)
    assert card.metrics['top_1'] > 0.9
    assert card.metrics['top_5'] == 1.0
    assert card.untrained == ('fusions', 'head')
    assert card.taxonomy.classes == ('bricks', 'grass', 'sky')
    assert (card.config.height, card.config.width) == (64, 64)
    assert str(textures) not in str(card.to_metadata())
    assert PretrainRecipe.from_dict(card.training['recipe'], 'card') == recipe()
    assert list((trained.parent / 'tensorboard').glob('events*'))


def test_a_segmentation_takes_the_encoder_and_nothing_else(trained: Path) -> None:
    lines: list[str] = []
    _, source = checkpoint.load(trained)
    network = LeMoRe(variant('nano', classes=3, height=64, width=64))
    untouched = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    initialise(network, trained, lines.append)
    for name, tensor in network.state_dict().items():
        is_encoder = not name.startswith(('fusions.', 'head.'))
        assert torch.equal(tensor, (source.state_dict() if is_encoder else untouched)[name]), name
    assert lines[0].startswith('starting from best.safetensors; fusions.0, ')
    # at another size the encoder is the pre-trained one with its axis weights resampled
    larger = LeMoRe(variant('nano', classes=3, height=128, width=96))
    initialise(larger, trained, lines.append)
    resized = source.resized(128, 96).state_dict()
    for name, tensor in larger.state_dict().items():
        if not name.startswith(('fusions.', 'head.')):
            assert torch.equal(tensor, resized[name]), name


def test_only_the_encoder_moves(textures: Path, tmp_path: Path) -> None:
    pretrain(PretrainRun(recipe(**FIRST_STEPS), textures, tmp_path, CPU), lambda _: None)
    state = SafeStateFile().load_checkpoint(tmp_path / 'run.safetensors')
    now = state['current_model_state']
    torch.manual_seed(0)
    started = LeMoRe(variant('nano', classes=3, height=64, width=64)).state_dict()
    for name, tensor in started.items():
        if name.startswith(('fusions.', 'head.')):
            assert torch.equal(now[f'network.encoder.{name}'], tensor), name
    moved = [name for name in started if name.startswith('stem.') and name.endswith('weight')]
    assert moved
    for name in moved:
        assert not torch.equal(now[f'network.encoder.{name}'], started[name]), name


def test_an_encoder_is_not_served(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='its fusions and head are untrained'):
        Segmenter.load(trained, backend='torch', device='cpu')
    assert main(['export', '--model', str(trained), '--output', str(tmp_path / 'e.onnx')]) == 1
    assert not (tmp_path / 'e.onnx').exists()


def test_a_resumed_run_has_the_weights_of_an_unbroken_one(textures: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    planned = recipe(**FIRST_STEPS)
    pretrain(PretrainRun(planned, textures, whole, CPU), lambda _: None)

    class KilledError(Exception):
        pass

    def die(_: str) -> None:
        raise KilledError

    run = PretrainRun(planned, textures, broken, CPU)
    with pytest.raises(KilledError):
        pretrain(run, die)  # after the last step, and before its state is saved
    state = SafeStateFile().load_checkpoint(broken / 'run.safetensors')
    assert state['global_step'] == 2

    with pytest.raises(TrainingError, match='holds a run already'):
        pretrain(run, lambda _: None)
    pretrain(dataclasses.replace(run, resume=True), lambda _: None)
    states = [
        SafeStateFile().load_checkpoint(folder / 'run.safetensors')['current_model_state']
        for folder in (whole, broken)
    ]
    for name, tensor in states[0].items():
        assert torch.allclose(tensor, states[1][name], rtol=1e-5, atol=1e-6), name


def test_the_command_names_what_is_wrong(
    textures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        'research',
        'pretrain',
        '--data',
        str(textures),
        '-o',
        str(tmp_path),
        '--accelerator',
        'cpu',
    ]
    assert main([*command, '--set', 'smoothing=2']) == 1
    assert 'smoothing is 2.0, allowed: a number from 0 to 0.9' in capsys.readouterr().err
    assert main([*command, '--model', 'huge']) == 1
    assert "no model is called 'huge'" in capsys.readouterr().err


def test_an_unreadable_image_is_named_before_training(textures: Path, tmp_path: Path) -> None:
    for split in ('train', 'val'):
        for source in (textures / split).glob('*/*'):
            target = tmp_path / 'data' / source.relative_to(textures)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    broken = tmp_path / 'data' / 'train' / 'grass' / '3.JPEG'
    broken.write_bytes(broken.read_bytes()[:500])
    run = PretrainRun(recipe(), tmp_path / 'data', tmp_path / 'run', CPU)
    with pytest.raises(Exception, match=r'grass/3\.JPEG is no readable image'):
        pretrain(run, lambda _: None)
    assert not (tmp_path / 'run' / 'last.safetensors').exists()


def test_the_recipe_is_the_usual_one_for_imagenet() -> None:
    usual = load_pretrain_recipe({})
    assert (usual.size, usual.batch, usual.smoothing) == (224, 256, 0.1)
    assert usual.scale == (0.08, 1.0)
    assert usual.ratio == pytest.approx((3 / 4, 4 / 3), abs=1e-4)
    assert PretrainRecipe.from_dict(usual.to_dict(), 'here') == usual
    with pytest.raises(RecipeError, match=r'ratio is .* in ascending order'):
        load_pretrain_recipe({'ratio': [2, 1]})


def test_a_pretraining_is_not_reproduced_as_a_segmentation(trained: Path) -> None:
    with pytest.raises(RecipeError, match='unknown fields'):
        reproduced(trained, None, None)
