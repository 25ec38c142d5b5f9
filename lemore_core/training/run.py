"""Train a network: recipe, data set and hardware in one run."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Timer, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader

from lemore_core.checkpoint import ModelCard, read_card, store_scenes
from lemore_core.common.errors import LemoreError, counted
from lemore_core.common.files import hold
from lemore_core.data.augment import Augmentation
from lemore_core.data.check import check, require_sound
from lemore_core.data.datasets import Dataset, open_dataset
from lemore_core.data.drives import divided, drives
from lemore_core.data.origin import ORIGIN, UNKNOWN, read_origin
from lemore_core.data.samples import Sample, read_black_and_white
from lemore_core.evaluation.scenes import measure_scenes
from lemore_core.model.cost import measure_cost
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import variant
from lemore_core.segmenter import Segmenter
from lemore_core.training.images import (
    AugmentedImages,
    Batch,
    StepSampler,
    WholeImages,
    frequency_weights,
    load_batches,
    rare_classes,
)
from lemore_core.training.losses import Objective
from lemore_core.training.recipe import PRECISIONS, Recipe
from lemore_core.training.start import (
    TrainingError,
    TrainingRun,
    initialise,
    is_first,
    is_first_here,
    origin,
    set_up,
)
from lemore_core.training.task import (
    STATE,
    Checkpoints,
    Interrupt,
    ProgressLines,
    SegmentationTask,
    moving_average,
)

Report = Callable[[str], None]

STARTED = 'started from '
LICENCES = {'camvid': 'CC BY-NC 4.0: trained on CamVid, research use only'}
CROP_SIZES = 3  # where steps differ in size: few, since a CPU prepares its kernels for each
HEAD_STRIDE = 8


def train(run: TrainingRun, report: Report) -> Path:
    """Train and return the path of the best checkpoint, ``<output>/best.safetensors``.

    ``last.safetensors`` beside it is the newest; both hold the moving average of the weights.
    ``tensorboard/`` holds curves and overlays, ``run.ckpt`` the state to resume from. ``report`` is
    called with a line after each validation, and every minute where no progress bar is shown.

    Raises:
        DivergedError: the loss is not finite; the checkpoints and the state before it are kept.
        RecipeError: the recipe does not fit the machine.
        DataError: the data set is missing or damaged.
        TrainingError: ``output`` holds another run, or none to resume; val has fewer images than
            there are processes; or soft labels are incomplete, or to be pasted.
        KeyboardInterrupt: Ctrl-C or SIGTERM ended the run; the state is written and can be resumed.
    """
    with hold(run.output) if is_first() else nullcontext():
        return _train(run, rank_zero_only(report))


def _train(run: TrainingRun, report: Report) -> Path:
    state = set_up(run)
    dataset = open_dataset(run.recipe.dataset, run.data)
    samples, validation = split_samples(dataset, run.recipe)
    if len(validation) < run.hardware.processes:
        # a process without an image would wait for the others' counts forever
        msg = f'{len(validation)} images in val cannot be shared by {run.hardware.processes} processes'
        raise TrainingError(msg)
    if run.check and not run.resume and is_first_here():
        for line in require_sound(samples, 'train'):
            report(line)
        require_sound(validation, 'val', 1 if run.recipe.hold_out else 2)
    task = make_task(run, dataset, samples, report)
    split = validation_split(run.recipe, samples, validation)
    record = {**origin(run), 'cost': dataclasses.asdict(measure_cost(task.network.config))}
    checkpoints = Checkpoints(run.output, record, split, report)
    interrupt = Interrupt()
    # the order matters: the checkpoints see the averaged weights before the average swaps them back
    callbacks: list[Callback] = [checkpoints, moving_average(run.recipe.ema_decay)]
    if run.seconds is not None:
        timer = Timer(timedelta(seconds=run.seconds), verbose=False)
        task.clock = lambda: timer.time_elapsed() / run.seconds
        callbacks.append(timer)
    progress = TQDMProgressBar(refresh_rate=10) if sys.stdout.isatty() else ProgressLines(report)
    callbacks += [progress, interrupt]
    trainer = make_trainer(run, callbacks)
    loader = make_loader(run, samples, trainer.global_rank, lambda: trainer.global_step)
    # every process validates its share: the counts are summed at the end
    share = WholeImages(validation[trainer.global_rank :: trainer.world_size])
    whole = load_batches(share, 1, run.hardware.loaders)
    report(_about(run, samples, validation))
    with interrupt.handled():
        trainer.fit(task, loader, whole, ckpt_path=state, weights_only=True)
    if interrupt.pressed:
        report(f'stopped after step {trainer.global_step}, which is saved: resume it')
        raise KeyboardInterrupt
    best = run.output / 'best.safetensors'
    if trainer.is_global_zero:
        written = [path for path in (best, run.output / 'last.safetensors') if path.is_file()]
        for path in [path for path in written if read_card(path).scenes is None]:
            _describe_scenes(path, samples, validation, report)
    if trainer.global_step <= run.recipe.warmup and run.seconds is not None:
        report(
            f'{counted(trainer.global_step, "step")} in this time, of which the learning rate takes '
            f'{run.recipe.warmup} to rise: give it more time'
        )
    report(f'best checkpoint: {best}')
    return best


def _about(run: TrainingRun, samples: list[Sample], validation: list[Sample]) -> str:
    """Return a line about what is trained on, and where."""
    where = 'GPU' if run.hardware.uses_gpu else counted(torch.get_num_threads(), 'thread')
    if samples[0].reader is read_black_and_white:
        where += ', masks are black and white'
    return (
        f'{counted(len(samples), "image")} to train on, {len(validation):,} to validate on every '
        f'{run.recipe.validate_every} steps; {run.recipe.model}, {where}'
    )


def _describe_scenes(
    path: Path, samples: list[Sample], validation: list[Sample], report: Report
) -> None:
    """Store in a checkpoint what familiarity and sureness compare with."""
    try:
        segmenter = Segmenter.load(path, backend='torch')
        store_scenes(path, measure_scenes(segmenter, samples, validation))
    except LemoreError as error:
        report(f'{path.name} cannot tell how familiar a scene is: {error}')


def train_unless_finished(run: TrainingRun, report: Report) -> ModelCard:
    """Train or resume the run in ``run.output`` unless it is finished; return its newest card."""
    last, started = run.output / 'last.safetensors', (run.output / STATE).is_file()
    if last.is_file():
        card = read_card(last)
        record = card.training
        is_finished = record['step'] >= run.recipe.iterations
        if run.seconds is not None:
            is_finished = record['finished'] and record.get('seconds') == run.seconds
        if is_finished:
            return card
    train(dataclasses.replace(run, resume=started, check=run.check and not started), report)
    return read_card(last)


def cross_validate(run: TrainingRun, report: Report) -> Iterator[dict[str, Any]]:
    """Train once for each drive of train and val, without it; yield drive, images and figures.

    The runs lie in folders of ``run.output`` with the drives' names. Finished ones are not
    repeated, interrupted ones are resumed. The last checkpoint counts, not the best: choosing one
    by the drive that it is measured on would be optimistic.
    """
    dataset = open_dataset(run.recipe.dataset, run.data)
    samples = [*dataset.samples('train'), *dataset.samples('val')]
    for drive, kept in drives(samples).items():
        report(f'without {drive}')
        recipe = dataclasses.replace(run.recipe, hold_out=drive)
        planned = dataclasses.replace(run, recipe=recipe, output=run.output / drive)
        figures = dict(train_unless_finished(planned, report).metrics)
        yield {'drive': drive, 'images': len(kept), 'figures': figures}


def split_samples(dataset: Dataset, recipe: Recipe) -> tuple[list[Sample], list[Sample]]:
    """Return the samples for training and validation: the splits, or all drives but one and that one."""
    train, val = dataset.samples('train'), dataset.samples('val')
    if recipe.hold_out:
        train, val, _ = divided(drives([*train, *val]), [recipe.hold_out])
    if not recipe.distill:
        train = [dataclasses.replace(sample, soft=None) for sample in train]
    soft = sum(sample.soft is not None for sample in train)
    if soft not in (0, len(train)):
        msg = f'{soft} of {len(train)} images have soft labels: all or none, or set distill=0'
        raise TrainingError(msg)
    if soft and recipe.paste:
        msg = 'paste mixes no soft labels: set paste=0, or distill=0 for the masks alone'
        raise TrainingError(msg)
    return train, val


def make_task(
    run: TrainingRun, dataset: Dataset, samples: list[Sample], report: Report
) -> SegmentationTask:
    """Return the network and losses of a run."""
    recipe, taxonomy = run.recipe, dataset.taxonomy
    shape: dict[str, Any] = {**recipe.network, 'height': recipe.height, 'width': recipe.width}
    config = variant(recipe.model, classes=len(taxonomy.classes), **shape)
    network = LeMoRe(config, dropout=recipe.dropout, drop_path=recipe.drop_path)
    if run.start is not None:
        initialise(network, run.start, report)
    name = f'lemore_{recipe.model}_{taxonomy.name}'
    card = ModelCard(name, config, taxonomy, licence(taxonomy.name, run.data, run.start))
    weights, rare = None, None
    if recipe.class_weights or recipe.paste:
        counts = check(samples).pixels[: config.classes]
        weights = torch.from_numpy(frequency_weights(counts, recipe.class_weights))
        rare = rare_classes(torch.from_numpy(counts), recipe.rare)
    objective = Objective(weights, recipe.lovasz, recipe.loss_stride)
    return SegmentationTask(recipe, card, network, objective, rare)


def licence(taxonomy: str, data: Path, start: Path | None = None) -> str:
    """Return the licence of the weights, with the terms that the checkpoint to start from adds."""
    recorded = (data / ORIGIN).is_file()
    own = read_origin(data / ORIGIN).licence if recorded else LICENCES.get(taxonomy, UNKNOWN)
    if start is None:
        return own
    before, terms = read_card(start), own.split('; ')
    added = [term for term in before.licence.split('; ') if term not in terms]
    if added and not added[0].startswith(STARTED):
        added[0] = f'{STARTED}{before.name}: {added[0]}'
    return '; '.join([own, *added])


def validation_split(recipe: Recipe, training: list[Sample], validation: list[Sample]) -> str:
    """Return the name of the validation images for checkpoints; it tells of trained ones."""
    if recipe.hold_out:
        return f'drive {recipe.hold_out}'
    seen = {sample.image.resolve() for sample in training}
    shared = sum(sample.image.resolve() in seen for sample in validation)
    return f'val, of which {shared} of {len(validation)} were trained on' if shared else 'val'


def make_trainer(run: TrainingRun, callbacks: list[Callback]) -> Trainer:
    """Return the trainer of a run; an epoch is the recipe's ``save_every`` steps."""
    recipe, hardware = run.recipe, run.hardware
    distributed = hardware.processes > 1
    return Trainer(
        accelerator='gpu' if hardware.uses_gpu else 'cpu',
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy='ddp' if distributed else 'auto',
        sync_batchnorm=distributed and hardware.uses_gpu,
        precision=PRECISIONS[recipe.precision],
        max_epochs=-1,
        max_steps=recipe.iterations if run.seconds is None else -1,
        # in steps of the run, since an interrupted epoch is shorter
        val_check_interval=recipe.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=recipe.grad_clip_norm or None,
        use_distributed_sampler=False,
        logger=TensorBoardLogger(run.output, name='tensorboard', version=''),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
        log_every_n_steps=min(50, recipe.save_every),
    )


def make_loader(
    run: TrainingRun,
    samples: list[Sample],
    process: int = 0,
    first_step: Callable[[], int] = lambda: 0,
) -> DataLoader[Batch]:
    """Return one process's batches of an epoch of ``save_every`` steps from ``first_step()`` on."""
    recipe, processes = run.recipe, run.hardware.processes
    steps, batch = recipe.save_every, recipe.batch
    sampler = StepSampler(len(samples), recipe.seed, first_step, steps, batch, process, processes)
    augmentations = [
        Augmentation(*size, scale=recipe.scale, resize=recipe.resize, light=recipe.light)
        for size in crop_sizes(recipe)
    ]
    images = AugmentedImages(samples, augmentations, recipe.seed, recipe.batch)
    return load_batches(
        images,
        recipe.batch // processes,
        run.hardware.loaders,
        sampler=sampler,
        pin_memory=run.hardware.uses_gpu,
    )


def crop_sizes(recipe: Recipe) -> list[tuple[int, int]]:
    """Return the (height, width) of the steps' crops, the recipe's own first."""
    sizes = [(recipe.height, recipe.width)]
    if recipe.shrink < 1:
        # a side that is no multiple of the head's stride would leave a cut cell at its end
        for factor in np.linspace(1, recipe.shrink, CROP_SIZES)[1:]:
            height, width = np.maximum(1, np.round(np.array(sizes[0]) * factor / HEAD_STRIDE))
            sizes.append((int(height) * HEAD_STRIDE, int(width) * HEAD_STRIDE))
    return sizes
