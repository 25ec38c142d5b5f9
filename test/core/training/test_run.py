from __future__ import annotations

import dataclasses
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lemore_core import checkpoint
from lemore_core.data.datasets import open_dataset
from lemore_core.data.samples import DataError, write_soft
from lemore_core.model.cost import measure_cost
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import load_taxonomy
from lemore_core.training.images import Batch
from lemore_core.training.recipe import Recipe, load_recipe
from lemore_core.training.run import make_loader, train, train_unless_finished
from lemore_core.training.start import Hardware, TrainingError, TrainingRun
from lemore_core.training.task import STATE, DivergedError, SegmentationTask

CPU = Hardware('cpu', workers=0)
# a few steps of a small network on the squares; what is random in a step stays random
STEPS = {'height': 64, 'width': 96, 'batch': 4, 'dropout': 0.1, 'drop_path': 0.1}
STEPS |= {'iterations': 12, 'validate_every': 6, 'save_every': 3, 'warmup': 2}
SHORT = {'iterations': 3, 'validate_every': 3}


def recipe(**changes: object) -> Recipe:
    return load_recipe('camvid', {**STEPS, 'model': 'nano', **changes})


def silent(_: str) -> None: ...


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / STATE, weights_only=True)
    return state


def assert_same_weights(one: Path, two: Path) -> None:
    """Compare the weights themselves (not the averages that checkpoints hold)."""
    first, second = state_of(one), state_of(two)
    assert first['global_step'] == second['global_step']
    torch.testing.assert_close(first['current_model_state'], second['current_model_state'])


def test_a_network_learns_and_its_checkpoint_is_served(
    squares: Path, tmp_path: Path, lemore: Any
) -> None:
    lines: list[str] = []
    planned = recipe(iterations=60, validate_every=20, save_every=20, learning_rate=1e-2)
    best = train(TrainingRun(planned, squares, tmp_path, CPU), lines.append)
    losses = [float(loss) for loss in re.findall(r'loss ([\d.]+) mIoU', ' '.join(lines))]
    assert len(losses) == 3
    found = r'8 images to train on, 4 to validate on every 20 steps; nano, \d+ threads?'
    assert re.fullmatch(found, lines[1])
    assert lines[-2].endswith(' (no pixel of 9 of 11 classes)')
    assert lines[-1] == f'best checkpoint: {best}'
    assert losses[-1] < 0.5 * losses[0]
    card = checkpoint.read_card(best)
    assert card.metrics['iou']['car'] > 0.5
    assert card.metrics['split'] == 'val'
    assert card.licence.startswith('CC BY-NC 4.0')
    assert str(tmp_path) not in str(card.to_metadata())
    curves = EventAccumulator(str(tmp_path / 'tensorboard'))
    curves.Reload()
    tags = sorted(curves.Tags()['scalars'])
    assert tags[:2] == ['curves/loss', 'curves/mean_iou']  # what TensorBoard opens on
    assert [event.step for event in curves.Scalars('curves/mean_iou')] == [20, 40, 60]
    assert curves.Tags()['images'] == [f'val/{i}' for i in range(4)]
    image = cv2.imread(str(squares / 'val' / '0.png'))
    assert image is not None
    labels = Segmenter.load(best, backend='torch', device='cpu').segment(image, 'bgr8').labels
    assert set(np.unique(labels)) >= {3, 8}

    # the figure of the run is the one that evaluation prints
    arguments = ['--model', str(best), '--data', str(squares), '--backend', 'torch', '--json']
    printed = lemore('evaluate', *arguments).json()['mean_iou']
    assert printed == pytest.approx(card.metrics['mean_iou'], abs=0.005)

    # and the checkpoint records how to make itself again
    assert card.training['recipe'] == planned.to_dict()
    assert card.training['versions']['torch'] == torch.__version__
    assert card.training['cost'] == dataclasses.asdict(measure_cost(card.config))


@pytest.fixture(scope='module')
def unbroken(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp('unbroken')
    train(TrainingRun(recipe(), squares, output, CPU), silent)
    return output


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have something happen in a step of the next runs."""
    step = SegmentationTask.training_step

    def arrange(number: int, happen: Callable[[SegmentationTask], None]) -> None:
        def disturbed(task: SegmentationTask, batch: Batch, batch_idx: int) -> torch.Tensor:
            if task.global_step == number:
                happen(task)
            return step(task, batch, batch_idx)

        monkeypatch.setattr(SegmentationTask, 'training_step', disturbed)

    return arrange


def test_a_run_that_broke_off_resumes_to_the_weights_of_an_unbroken_one(
    squares: Path, tmp_path: Path, unbroken: Path, at_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(_: SegmentationTask) -> None:
        raise ZeroDivisionError

    run = TrainingRun(recipe(), squares, tmp_path, CPU)
    at_step(7, break_off)
    with pytest.raises(ZeroDivisionError):
        train(run, silent)
    monkeypatch.undo()
    assert state_of(tmp_path)['global_step'] == 6  # saved every 3

    with pytest.raises(TrainingError, match='holds a run already'):
        train(run, silent)
    other = dataclasses.replace(run, recipe=recipe(learning_rate=1e-4), resume=True)
    with pytest.raises(TrainingError, match='differs from this recipe in learning_rate'):
        train(other, silent)

    resumed = dataclasses.replace(run, resume=True)
    train(resumed, silent)
    assert_same_weights(unbroken, tmp_path)

    # no state can run code
    torch.save({'global_step': Path()}, tmp_path / STATE)
    with pytest.raises(TrainingError, match=r'run\.ckpt is damaged or no state'):
        train(resumed, silent)
    (tmp_path / STATE).write_bytes((unbroken / STATE).read_bytes()[:-1000])
    with pytest.raises(TrainingError, match=r'run\.ckpt is damaged or no state'):
        train(resumed, silent)


def test_ctrl_c_keeps_the_step_and_a_resumed_run_may_be_longer(
    squares: Path, tmp_path: Path, unbroken: Path, at_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    run = TrainingRun(recipe(), squares, tmp_path, CPU)
    before = signal.getsignal(signal.SIGINT)
    at_step(4, lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(run, lines.append)
    monkeypatch.undo()
    assert lines.pop() == 'stopped after step 5, which is saved: resume it'  # in mid-epoch
    lines.clear()
    assert signal.getsignal(signal.SIGINT) is before
    train(dataclasses.replace(run, resume=True), lines.append)
    assert [line.split()[1] for line in lines[1:-1]] == ['6/12', '12/12']  # as without a stop
    last = tmp_path / 'last.safetensors'
    card = checkpoint.read_card(last)
    assert card.training['finished']
    assert card.scenes is not None, 'a finished network knows what it was trained on'
    assert_same_weights(unbroken, tmp_path)

    # resumed as it is, a finished run makes no step
    written = last.read_bytes()
    train(dataclasses.replace(run, resume=True), silent)
    assert last.read_bytes() == written
    train(dataclasses.replace(run, recipe=recipe(iterations=17), resume=True), silent)
    record = checkpoint.read_card(last).training
    assert (record['step'], record['recipe']['iterations']) == (17, 17)


def test_a_service_manager_that_ends_a_run_loses_no_step(
    squares: Path, tmp_path: Path, at_step: Any
) -> None:
    at_step(1, lambda _: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        train(TrainingRun(recipe(), squares, tmp_path, CPU), silent)
    assert state_of(tmp_path)['global_step'] == 2  # saved every 3
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_run_of_a_time_ends_by_the_clock(squares: Path, tmp_path: Path) -> None:
    # neither the iterations nor a validation end it
    run = TrainingRun(recipe(**SHORT), squares, tmp_path, CPU, seconds=4.0)
    card = train_unless_finished(run, silent)
    assert card.training['seconds'] == 4.0
    assert card.training['finished']
    assert card.training['step'] > 3
    assert card.metrics['mean_iou'] > 0
    (schedule,) = state_of(tmp_path)['lr_schedulers']
    assert max(schedule['_last_lr']) < 0.5 * run.recipe.learning_rate
    # finished: it is left alone
    state = (tmp_path / STATE).read_bytes()
    assert train_unless_finished(run, silent) == card
    assert (tmp_path / STATE).read_bytes() == state


def test_two_processes_share_the_images(squares: Path, tmp_path: Path, run_python: Any) -> None:
    command = ['-m', 'lemore_core.cli.main', 'train', '--recipe', 'camvid', '--model', 'nano']
    command += ['--accelerator', 'cpu', '--devices', '2', '--workers', '0']
    command += ['--data', squares, '--output', tmp_path, '--set']
    steps = [f'{name}={value}' for name, value in {**STEPS, **SHORT}.items()]
    out = run_python(*command, *steps)
    assert len(re.findall(r'step 3/3 loss', out)) == 1  # the first process speaks
    card = checkpoint.read_card(tmp_path / 'last.safetensors')
    assert card.training['finished']
    assert card.metrics['mean_iou'] > 0


@pytest.fixture
def soft_squares(squares: Path, tmp_path: Path) -> Path:
    """The squares with blank masks and soft labels of the truth, and with a record of origin."""
    root = tmp_path / 'data'
    for split in ('train', 'val'):
        shutil.copytree(squares / split, root / 'images' / split)
        (root / 'masks' / split).mkdir(parents=True)
        for path in (squares / f'{split}annot').iterdir():
            mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            assert mask is not None
            if split == 'train':
                ids = mask[2::4, 2::4]
                soft = np.stack([[ids, 11 - ids], [np.full_like(ids, 229), np.full_like(ids, 26)]])
                write_soft(root / 'soft' / split / f'{path.stem}.npz', soft.astype(np.uint8))
                mask[:] = 255
            cv2.imwrite(str(root / 'masks' / split / path.name), mask)
    (root / 'classes.yaml').write_text(yaml.safe_dump(load_taxonomy('camvid').of_labels.to_dict()))
    source = {'path': 'squares', 'licence': 'CC0', 'repository': 'me/squares', 'commit': 'cafe'}
    origin = {'sources': [source], 'teacher': {'name': 'big', 'sha256': 'ab', 'licence': 'MIT'}}
    (root / 'origin.yaml').write_text(yaml.safe_dump(origin))
    return root


def test_soft_labels_alone_teach_and_their_origin_is_on_the_card(
    soft_squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('lemore_core.training.task.PROGRESS_SECONDS', 0.0)
    lines: list[str] = []
    steps = {'iterations': 40, 'validate_every': 40, 'save_every': 20, 'learning_rate': 1e-2}
    planned = recipe(**steps, dataset='folder', hard=0.0, class_weights=0.0, lovasz=0.0)
    run = TrainingRun(planned, soft_squares, tmp_path / 'first', CPU)
    best = train(run, lines.append)
    card = checkpoint.read_card(best)
    assert card.metrics['iou']['car'] > 0.5
    assert card.licence == 'squares: CC0; teacher big: MIT'
    origin = yaml.safe_load((soft_squares / 'origin.yaml').read_text())
    assert {key: card.training[key] for key in origin} == origin
    # a log says how far it is
    pattern = r'step 2 loss \d+\.\d{4}, \d+\.\d images/s, 0:\d\d:\d\d left'
    assert any(re.fullmatch(pattern, line) for line in lines)

    # steps add up over starts
    other = dataclasses.replace(run, recipe=dataclasses.replace(planned, **SHORT, save_every=3))
    again = train(dataclasses.replace(other, start=best, output=tmp_path / 'second'), silent)
    record = checkpoint.read_card(again).training
    assert (record['step'], record['steps_in_all']) == (3, 43)
    # and licences are said once
    origin['sources'][0]['licence'] = 'MIT'
    (soft_squares / 'origin.yaml').write_text(yaml.safe_dump(origin))
    terms = 'squares: MIT; teacher big: MIT'
    for folder in ('third', 'fourth'):
        again = train(dataclasses.replace(other, start=again, output=tmp_path / folder), silent)
        expected = f'{terms}; started from {card.name}: squares: CC0'
        assert checkpoint.read_card(again).licence == expected

    # all have soft labels or none
    blank = dataclasses.replace(other, recipe=dataclasses.replace(other.recipe, paste=0.5))
    with pytest.raises(TrainingError, match='paste mixes no soft labels'):
        train(dataclasses.replace(blank, output=tmp_path / 'paste'), silent)
    (soft_squares / 'soft' / 'train' / '3.npz').unlink()
    with pytest.raises(DataError, match=r'3\.png has no soft labels .*3\.npz'):
        train(dataclasses.replace(other, output=tmp_path / 'fifth'), silent)


def test_a_loss_that_is_not_finite_ends_a_run_and_keeps_what_was_saved(
    squares: Path, tmp_path: Path, at_step: Any
) -> None:
    run = TrainingRun(recipe(), squares, tmp_path, CPU)

    def poison(task: SegmentationTask) -> None:
        with torch.no_grad():
            next(task.network.parameters()).fill_(torch.nan)

    at_step(7, poison)
    with pytest.raises(DivergedError, match=r'loss nan, .* step 8: .* start from .*last\.safete'):
        train(run, silent)
    assert state_of(tmp_path)['global_step'] == 6
    assert checkpoint.load(tmp_path / 'last.safetensors')[0].training['step'] == 6


def test_steps_differ_in_size_but_not_the_images_of_one(squares: Path) -> None:
    planned = recipe(shrink=0.5, light=True, save_every=12, validate_every=12)
    samples = open_dataset('camvid', squares).samples('train')
    loader = make_loader(TrainingRun(planned, squares, squares, CPU), samples)
    sizes = [tuple(images.shape) for images, _ in loader]
    assert len(sizes) == 12
    assert set(sizes) == {(4, 3, 64, 96), (4, 3, 48, 72), (4, 3, 32, 48)}


def test_a_checkpoint_says_when_it_was_trained_on_what_it_is_judged_by(
    squares: Path, tmp_path: Path
) -> None:
    data = tmp_path / 'all'
    for train_folder, val_folder in (('train', 'val'), ('trainannot', 'valannot')):
        shutil.copytree(squares / train_folder, data / train_folder)
        (data / val_folder).mkdir()
        for name in ('0.png', '1.png'):
            (data / val_folder / name).symlink_to(data / train_folder / name)
    # with all that helps on unseen drives
    general = {'shrink': 0.5, 'light': True, 'paste': 0.5, 'rare': 0.5}
    planned = recipe(**SHORT, **general)
    best = train(TrainingRun(planned, data, tmp_path / 'run', CPU), silent)
    assert checkpoint.read_card(best).metrics['split'] == 'val, of which 2 of 2 were trained on'


def test_what_cannot_start_is_named(squares: Path, tmp_path: Path) -> None:
    run = TrainingRun(recipe(), squares, tmp_path / 'run', CPU)
    with pytest.raises(TrainingError, match=r'holds no run\.ckpt'):
        train(dataclasses.replace(run, resume=True), silent)
    with pytest.raises(TrainingError, match='3 processes cannot share it'):
        train(dataclasses.replace(run, hardware=Hardware('cpu', devices=3)), silent)
    assert not (tmp_path / 'run').exists()
    many = dataclasses.replace(run, recipe=recipe(batch=10), hardware=Hardware('cpu', devices=5))
    with pytest.raises(TrainingError, match='4 images in val cannot be shared by 5'):
        train(many, silent)


def test_every_drive_is_held_out_once_and_no_run_repeated(
    squares: Path, tmp_path: Path, lemore: Any
) -> None:
    steps = ['height=64', 'width=96', 'batch=4', 'iterations=2', 'validate_every=2', 'save_every=2']
    run = ['--recipe', 'camvid', '--model', 'nano', '--workers', '0', '--set', *steps]
    arguments = ['cross-validate', '--data', str(squares), '-o', str(tmp_path), *run, '--json']
    found = lemore(*arguments).json()
    # names without a drive: the folders are the drives
    folds = [(fold['drive'], fold['images']) for fold in found['folds']]
    assert folds == [('train', 8), ('val', 4)]
    ious = [fold['figures']['mean_iou'] for fold in found['folds']]
    assert found['mean_iou'] == pytest.approx(sum(ious) / 2)
    card = checkpoint.read_card(tmp_path / 'val' / 'last.safetensors')
    assert card.metrics['split'] == 'drive val'
    assert card.training['recipe']['hold_out'] == 'val'

    written = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob(STATE))]
    assert lemore(*arguments).status == 0
    assert written == [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob(STATE))]
