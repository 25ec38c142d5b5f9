"""A training run: a recipe, a data set and a machine brought together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader

from lemore_core.checkpoint import ModelCard, read_card
from lemore_core.data.augment import Augmentation
from lemore_core.data.check import require_sound
from lemore_core.data.datasets import Dataset, open_dataset
from lemore_core.data.drives import held_out
from lemore_core.data.samples import Sample
from lemore_core.data.statistics import class_counts
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import variant
from lemore_core.taxonomy import UNLABELLED_8BIT
from lemore_core.training.averaging import MovingAverage
from lemore_core.training.callbacks import STATE, Checkpoints, ProgressBar, RunState
from lemore_core.training.ending import Ending
from lemore_core.training.images import (
    AugmentedImages,
    Batch,
    WholeImages,
    training_loader,
    validation_loader,
)
from lemore_core.training.initialise import initialise, sha256
from lemore_core.training.losses import Objective
from lemore_core.training.mixing import rare_classes
from lemore_core.training.processes import BatchNormSync
from lemore_core.training.provenance import provenance
from lemore_core.training.recipe import Recipe
from lemore_core.training.sampling import Order, StepSampler, balanced_shares, frequency_weights
from lemore_core.training.start import (
    TrainingError,
    TrainingRun,
    is_first_here,
    set_up,
)
from lemore_core.training.state_file import SafeStateFile
from lemore_core.training.task import SegmentationTask
from lemore_core.training.teacher import load_teacher

LICENCES = {'camvid': 'CC BY-NC 4.0: trained on CamVid, research use only'}
PRECISIONS: dict[str, Any] = {
    '64': '64-true',
    '32': '32-true',
    'bf16': 'bf16-mixed',
    '16': '16-mixed',
}
CROP_SIZES = 3  # where steps differ in size: few, since a CPU prepares its kernels for each
HEAD_STRIDE = 8


def train(run: TrainingRun, report: Callable[[str], None]) -> Path:
    """Train and return the path of the best checkpoint, ``<output>/best.safetensors``.

    ``last.safetensors`` beside it is the newest; both hold the moving average of the weights.
    ``tensorboard/`` holds curves and overlays, ``run.safetensors`` what a resumed run goes on from.
    ``report`` is given a line after each validation.

    Raises:
        RecipeError: the recipe does not fit the machine.
        DataError: the data set is not where or what it should be.
        TrainingError: ``output`` holds another run, or none to resume; or val has fewer images
            than there are processes.
        KeyboardInterrupt: Ctrl-C was pressed; the state is written and can be resumed.
    """
    report = rank_zero_only(report)
    state = set_up(run)
    dataset = open_dataset(run.recipe.dataset, run.data)
    samples, validation = split_samples(dataset, run.recipe)
    if len(validation) < run.hardware.processes:
        # a process without an image would wait for the others' counts forever
        msg = f'{len(validation)} images in val cannot be shared by {run.hardware.processes} processes'
        raise TrainingError(msg)
    if run.check and not run.resume and is_first_here():
        require_sound([*samples, *validation])
    task = make_task(run, dataset, samples, report)
    trainer = make_trainer(
        run, _record(run), report, validation_split(run.recipe, samples, validation)
    )
    loader = make_loader(run, samples, trainer.global_rank, lambda: trainer.global_step)
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    (ending,) = (one for one in callbacks if isinstance(one, Ending))
    with ending.on_interrupt():
        trainer.fit(task, loader, _validation_images(run, validation, trainer), ckpt_path=state)
    if ending.interrupted:
        report(f'stopped after step {trainer.global_step}, which is saved: resume it')
        raise KeyboardInterrupt
    best = run.output / 'best.safetensors'
    report(f'best checkpoint: {best}')
    return best


def train_unless_finished(run: TrainingRun, report: Callable[[str], None]) -> ModelCard:
    """Train, resume or leave alone the run in ``run.output``; return its newest checkpoint's card.

    Raises:
        LemoreError: see :func:`train`.
    """
    last = run.output / 'last.safetensors'
    started = (run.output / STATE).is_file()
    if not (last.is_file() and _is_finished(run, read_card(last).training)):
        train(replace(run, resume=started, check=run.check and not started), report)
    return read_card(last)


def _is_finished(run: TrainingRun, record: Mapping[str, Any]) -> bool:
    if run.seconds is not None:
        return bool(record.get('finished') and record.get('seconds') == run.seconds)
    return bool(record['step'] >= run.recipe.iterations)


def split_samples(dataset: Dataset, recipe: Recipe) -> tuple[list[Sample], list[Sample]]:
    """Return what a run trains and validates on: the splits, or all drives but one and that one.

    Raises:
        DataError: a file is missing, or there is no such drive.
    """
    train, val = dataset.samples('train'), dataset.samples('val')
    return (
        held_out([*train, *val], dataset.root, recipe.hold_out) if recipe.hold_out else (train, val)
    )


def make_task(
    run: TrainingRun, dataset: Dataset, samples: list[Sample], report: Callable[[str], None]
) -> SegmentationTask:
    """Return the network of a run, and what it is trained for.

    Raises:
        TrainingError: the data set has more classes than 8-bit masks hold.
        LemoreError: the weights to start from or the teacher do not fit.
    """
    recipe, taxonomy = run.recipe, dataset.taxonomy
    if len(taxonomy.classes) > UNLABELLED_8BIT:
        msg = f'{taxonomy.name} has {len(taxonomy.classes)} classes, training takes up to 255'
        raise TrainingError(msg)
    config = variant(
        recipe.model,
        classes=len(taxonomy.classes),
        height=recipe.height,
        width=recipe.width,
        **recipe.network,
    )
    network = LeMoRe(config, dropout=recipe.dropout, drop_path=recipe.drop_path)
    if run.start is not None:
        initialise(network, run.start, report)
    card = ModelCard(
        name=f'lemore_{recipe.model}_{taxonomy.name}',
        config=config,
        taxonomy=taxonomy,
        licence=licence(taxonomy.name, run.start),
    )
    weights, rare = None, None
    if recipe.class_weights or recipe.paste:
        counts = class_counts(samples)
        weights = torch.from_numpy(frequency_weights(counts, recipe.class_weights))
        rare = rare_classes(torch.from_numpy(counts.sum(0)), recipe.rare)
    objective = Objective(weights, recipe.ohem, recipe.lovasz, recipe.loss_stride)
    teacher = load_teacher(run.teacher, len(taxonomy.classes)) if run.teacher else None
    return SegmentationTask(recipe, card, network, objective, teacher, rare)


def licence(dataset: str, start: Path | None = None) -> str:
    """Return the terms of the weights: those of the data, and of the weights started from."""
    own = LICENCES.get(dataset, 'unknown: the terms of the training data apply')
    if start is None:
        return own
    before = read_card(start)
    return own if before.licence == own else f'{own}; started from {before.name}: {before.licence}'


def validation_split(recipe: Recipe, training: list[Sample], validation: list[Sample]) -> str:
    """Return what checkpoints call the images that their figures were measured on.

    Weights may be trained on every image there is; figures on the same images are then no figures
    of a validation, whatever the folder is called.
    """
    if recipe.hold_out:
        return f'drive {recipe.hold_out}'
    seen = {sample.image.resolve() for sample in training}
    shared = sum(sample.image.resolve() in seen for sample in validation)
    return f'val, of which {shared} of {len(validation)} were trained on' if shared else 'val'


def make_trainer(
    run: TrainingRun, record: dict[str, Any], report: Callable[[str], None], split: str = 'val'
) -> Trainer:
    """Return the trainer of a run.

    ``record`` is what its checkpoints say of how they came to be, ``split`` what they call the
    images of their figures.
    """
    recipe, hardware = run.recipe, run.hardware
    checkpoints = Checkpoints(run.output, record, split)
    distributed = hardware.processes > 1
    return Trainer(
        accelerator='gpu' if hardware.uses_gpu else 'cpu',
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy='ddp' if distributed else 'auto',
        precision=PRECISIONS[recipe.precision],
        max_epochs=-1,  # the callback Ending says when
        check_val_every_n_epoch=recipe.validate_every // recipe.save_every,
        num_sanity_val_steps=0,
        gradient_clip_val=recipe.grad_clip_norm or None,
        use_distributed_sampler=False,
        logger=TensorBoardLogger(run.output, name='', version='tensorboard'),
        # the order matters: checkpoints see the averaged weights before the average swaps them back
        callbacks=[
            Ending(recipe.iterations, run.seconds),
            checkpoints,
            MovingAverage(recipe.ema_decay),
            ProgressBar(recipe.iterations if run.seconds is None else None, checkpoints, report),
            RunState(run.output),
        ],
        plugins=[SafeStateFile(), *([BatchNormSync()] if distributed else [])],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=min(50, recipe.save_every),
    )


def make_loader(
    run: TrainingRun,
    samples: list[Sample],
    process: int = 0,
    first_step: Callable[[], int] = lambda: 0,
) -> DataLoader[Batch]:
    """Return one process's augmented batches; an epoch is the recipe's ``save_every`` steps.

    ``first_step`` returns the step that an epoch begins with.
    """
    recipe = run.recipe
    shares = balanced_shares(class_counts(samples), recipe.balance) if recipe.balance else None
    sampler = StepSampler(
        Order(len(samples), recipe.seed, shares),
        first_step,
        steps=recipe.save_every,
        batch=recipe.batch,
        process=process,
        processes=run.hardware.processes,
    )
    augmentations = [
        Augmentation(*size, scale=recipe.scale, resize=recipe.resize, light=recipe.light)
        for size in crop_sizes(recipe)
    ]
    return training_loader(
        AugmentedImages(samples, augmentations, recipe.seed, recipe.batch),
        sampler,
        workers=run.hardware.loaders,
        pin=run.hardware.uses_gpu,
    )


def crop_sizes(recipe: Recipe) -> list[tuple[int, int]]:
    """Return the (height, width) that steps are trained at, the recipe's own first."""
    own = (recipe.height, recipe.width)
    if recipe.shrink == 1:
        return [own]
    factors = np.linspace(1, recipe.shrink, CROP_SIZES)[1:]
    return [own, *((_whole(own[0] * factor), _whole(own[1] * factor)) for factor in factors)]


def _whole(side: float) -> int:
    # a side that is no multiple of the head's stride would leave a cut cell at its end
    return max(1, round(side / HEAD_STRIDE)) * HEAD_STRIDE


def _validation_images(
    run: TrainingRun, samples: list[Sample], trainer: Trainer
) -> DataLoader[Batch]:
    # every process takes its share: the counts are summed at the end
    share = samples[trainer.global_rank :: trainer.world_size]
    return validation_loader(WholeImages(share), batch=1, workers=run.hardware.loaders)


def _record(run: TrainingRun) -> dict[str, Any]:
    # enough to start the run again elsewhere
    record: dict[str, Any] = {'recipe': run.recipe.to_dict(), 'versions': provenance()}
    if run.seconds is not None:
        record['seconds'] = run.seconds
    if run.teacher is not None:
        record['teacher'] = _named(run.teacher)
    if run.start is not None:
        # with the whole history before it, since the file itself may be lost
        record['start'] = {**_named(run.start), 'training': dict(read_card(run.start).training)}
    return record


def _named(path: Path) -> dict[str, Any]:
    return {'name': path.name, 'sha256': sha256(path)}
