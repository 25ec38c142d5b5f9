from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lemore_core import checkpoint
from lemore_core.cli.main import main
from lemore_core.data.datasets import open_dataset
from lemore_core.segmenter import Segmenter
from lemore_core.training.callbacks import STATE
from lemore_core.training.images import Batch
from lemore_core.training.recipe import Recipe, load_recipe
from lemore_core.training.run import make_loader, train, train_unless_finished
from lemore_core.training.start import Hardware, TrainingError, TrainingRun, reproduced
from lemore_core.training.state_file import SafeStateFile
from lemore_core.training.task import SegmentationTask

ROOT = Path(__file__).parents[3]
CPU = Hardware('cpu', workers=0)
# a few steps of a small network on the squares; what is random in a step stays random
STEPS = {
    'height': 64,
    'width': 96,
    'batch': 4,
    'warmup': 2,
    'iterations': 12,
    'validate_every': 6,
    'save_every': 3,
    'dropout': 0.1,
    'drop_path': 0.1,
}


def recipe(**changes: object) -> Recipe:
    return load_recipe('camvid', {**STEPS, 'model': 'nano', **changes})


def test_a_network_learns_and_its_checkpoint_is_served(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    planned = recipe(iterations=60, validate_every=20, save_every=20, learning_rate=1e-2)
    best = train(TrainingRun(planned, squares, tmp_path, CPU), lines.append)
    losses = [float(re.search(r'loss ([\d.]+)', line)[1]) for line in lines[:-1]]  # type: ignore[index]
    assert len(losses) == 3
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
    assert main(['evaluate', *arguments]) == 0
    printed = re.search(r'"mean_iou": ([\d.]+)', capsys.readouterr().out)
    assert printed
    assert float(printed[1]) == pytest.approx(card.metrics['mean_iou'], abs=0.005)

    # and the checkpoint knows how to make itself again
    assert reproduced(best, None, None) == planned
    assert card.training['versions']['torch'].startswith(torch.__version__.split('+')[0])
    with pytest.raises(TrainingError, match='was trained without --start'):
        reproduced(best, best, None)


@pytest.fixture(scope='module')
def unbroken(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp('unbroken')
    train(TrainingRun(recipe(), squares, output, CPU), lambda _: None)
    return output


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Have something happen in a step of the next runs."""
    step = SegmentationTask.training_step

    def arrange(number: int, happen: Callable[[], None]) -> None:
        def disturbed(task: SegmentationTask, batch: Batch, batch_idx: int) -> torch.Tensor:
            if task.global_step == number:
                happen()
            return step(task, batch, batch_idx)

        monkeypatch.setattr(SegmentationTask, 'training_step', disturbed)

    return arrange


def test_a_run_that_broke_off_resumes_to_the_weights_of_an_unbroken_one(
    squares: Path, tmp_path: Path, unbroken: Path, at_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off() -> None:
        raise ZeroDivisionError

    run = TrainingRun(recipe(), squares, tmp_path, CPU)
    at_step(7, break_off)
    with pytest.raises(ZeroDivisionError):
        train(run, lambda _: None)
    monkeypatch.undo()
    assert SafeStateFile().load_checkpoint(tmp_path / STATE)['global_step'] == 6  # saved every 3

    with pytest.raises(TrainingError, match='holds a run already'):
        train(run, lambda _: None)
    other = dataclasses.replace(run, recipe=recipe(learning_rate=1e-4), resume=True)
    with pytest.raises(TrainingError, match='differs from this recipe in learning_rate'):
        train(other, lambda _: None)

    train(dataclasses.replace(run, resume=True), lambda _: None)
    assert_same_weights(unbroken, tmp_path, 1e-6)


def test_ctrl_c_keeps_the_step_and_a_resumed_run_may_be_longer(
    squares: Path, tmp_path: Path, unbroken: Path, at_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    run = TrainingRun(recipe(), squares, tmp_path, CPU)
    before = signal.getsignal(signal.SIGINT)
    at_step(4, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(run, lines.append)
    monkeypatch.undo()
    assert lines == ['stopped after step 5, which is saved: resume it']  # in mid-epoch
    assert signal.getsignal(signal.SIGINT) is before
    train(dataclasses.replace(run, resume=True), lines.append)
    last = tmp_path / 'last.safetensors'
    assert checkpoint.read_card(last).training['finished']
    assert_same_weights(unbroken, tmp_path, 1e-6)

    # resumed as it is, a finished run makes no step
    written = last.read_bytes()
    train(dataclasses.replace(run, resume=True), lambda _: None)
    assert last.read_bytes() == written
    train(dataclasses.replace(run, recipe=recipe(iterations=18), resume=True), lambda _: None)
    record = checkpoint.read_card(last).training
    assert (record['step'], record['recipe']['iterations']) == (18, 18)


def test_a_run_of_a_time_ends_by_the_clock(squares: Path, tmp_path: Path) -> None:
    short = {'iterations': 3, 'validate_every': 3}  # not what ends it
    run = TrainingRun(recipe(**short), squares, tmp_path, CPU, seconds=4.0)
    card = train_unless_finished(run, lambda _: None)
    assert card.training['seconds'] == 4.0
    assert card.training['finished']
    assert card.training['step'] > 3
    assert card.metrics['mean_iou'] > 0
    # finished: it is left alone
    state = (tmp_path / STATE).read_bytes()
    assert train_unless_finished(run, lambda _: None) == card
    assert (tmp_path / STATE).read_bytes() == state


def test_two_processes_train_as_one_does(squares: Path, tmp_path: Path) -> None:
    # what is random in a step differs from process to process, so it is off; Lovász is no mean.
    # AdamW turns a gradient's last digits into whole steps where it is near zero: hence 64 bits.
    plain = {'dropout': 0.0, 'drop_path': 0.0, 'lovasz': 0.0, 'precision': 64}
    one, two = tmp_path / 'one', tmp_path / 'two'
    fields = {**plain, 'iterations': 3, 'validate_every': 3}
    train(TrainingRun(recipe(**fields), squares, one, CPU), lambda _: None)
    command = [sys.executable, '-m', 'lemore_core.cli.main', 'train', '--recipe', 'camvid']
    command += ['--model', 'nano', '--accelerator', 'cpu', '--devices', '2', '--workers', '0']
    command += ['--data', str(squares), '--output', str(two), '--set']
    result = subprocess.run(
        [*command, *(f'{name}={value}' for name, value in {**STEPS, **fields}.items())],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert_same_weights(one, two, 1e-6)
    first, second = (checkpoint.read_card(folder / 'last.safetensors') for folder in (one, two))
    assert first.metrics['mean_iou'] == pytest.approx(second.metrics['mean_iou'], abs=0.01)


def assert_same_weights(one: Path, two: Path, tolerance: float) -> None:
    """Compare the weights themselves (not the averages that checkpoints hold)."""
    first, second = (SafeStateFile().load_checkpoint(folder / STATE) for folder in (one, two))
    assert first['global_step'] == second['global_step']
    weights, others = first['current_model_state'], second['current_model_state']
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        scale = float(weight.float().abs().max()) + 1e-3
        difference = float((weight.float() - others[name].float()).abs().max())
        assert difference <= tolerance * scale, name


def test_a_teacher_stands_beside_a_run_and_in_its_record(squares: Path, tmp_path: Path) -> None:
    teacher = tmp_path / 'teacher.onnx'
    size = ['--height', '64', '--width', '96']
    assert main(['export', '--model', 'nano', *size, '--output', str(teacher)]) == 0
    short = recipe(iterations=3, validate_every=3)
    run = TrainingRun(short, squares, tmp_path / 'taught', CPU, teacher=teacher)
    taught = checkpoint.read_card(train(run, lambda _: None))
    assert taught.training['teacher']['name'] == 'teacher.onnx'
    alone = dataclasses.replace(run, teacher=None, output=tmp_path / 'alone')
    train(alone, lambda _: None)
    first, second = (load_file(tmp_path / name / STATE) for name in ('taught', 'alone'))
    assert first.keys() == second.keys(), 'a teacher is no part of the state'
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_steps_differ_in_size_but_not_the_images_of_one(squares: Path) -> None:
    planned = recipe(shrink=0.5, light=True, save_every=12, validate_every=12)
    samples = open_dataset('camvid', squares).samples('train')
    sizes = [
        tuple(images.shape)
        for images, _ in make_loader(TrainingRun(planned, squares, squares, CPU), samples)
    ]
    assert len(sizes) == 12
    assert set(sizes) == {(4, 3, 64, 96), (4, 3, 48, 72), (4, 3, 32, 48)}


def test_a_checkpoint_says_when_it_was_trained_on_what_it_is_judged_by(
    squares: Path, tmp_path: Path
) -> None:
    data = tmp_path / 'all'
    for split in ('train', 'trainannot'):
        (data / split.replace('train', 'val')).mkdir(parents=True)
        shutil.copytree(squares / split, data / split)
    for name in ('0.png', '1.png'):
        for split in ('val', 'valannot'):
            (data / split / name).symlink_to(data / split.replace('val', 'train') / name)
    best = train(
        TrainingRun(recipe(iterations=3, validate_every=3), data, tmp_path / 'run', CPU), print
    )
    assert checkpoint.read_card(best).metrics['split'] == 'val, of which 2 of 2 were trained on'


def test_what_cannot_start_is_named(squares: Path, tmp_path: Path) -> None:
    run = TrainingRun(recipe(), squares, tmp_path / 'run', CPU)
    with pytest.raises(TrainingError, match=r'holds no run\.safetensors'):
        train(dataclasses.replace(run, resume=True), lambda _: None)
    with pytest.raises(TrainingError, match='3 processes cannot share it'):
        train(dataclasses.replace(run, hardware=Hardware('cpu', devices=3)), lambda _: None)
    assert not (tmp_path / 'run').exists()
    many = dataclasses.replace(run, recipe=recipe(batch=10), hardware=Hardware('cpu', devices=5))
    with pytest.raises(TrainingError, match='4 images in val cannot be shared by 5'):
        train(many, lambda _: None)


def test_the_saved_state_holds_no_pickle(squares: Path, tmp_path: Path) -> None:
    # with all that helps on unseen drives
    general = {'shrink': 0.5, 'light': True, 'paste': 0.5, 'rare': 0.5}
    best = train(TrainingRun(recipe(iterations=6, **general), squares, tmp_path, CPU), print)
    assert load_file(tmp_path / STATE), 'safetensors reads it'
    assert checkpoint.read_card(best).training['recipe']['paste'] == 0.5
