"""A pre-training run: a recipe, a folder of images and a machine brought together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader
from tqdm import tqdm

from lemore_core.checkpoint import ModelCard
from lemore_core.data.image_folder import ImageFolder, open_image_folder, require_readable
from lemore_core.data.resized_crop import ResizedCrop
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import variant
from lemore_core.taxonomy import Taxonomy
from lemore_core.training.images import Batch, training_loader, validation_loader
from lemore_core.training.pretraining.classifier import UNTRAINED, Classifier
from lemore_core.training.pretraining.images import CentredImages, CroppedImages
from lemore_core.training.pretraining.recipe import PretrainRecipe
from lemore_core.training.pretraining.task import PretrainTask
from lemore_core.training.run import fit, licence, make_record, make_trainer
from lemore_core.training.sampling import Order, StepSampler
from lemore_core.training.start import BaseRun, is_first_here, set_up

BLACK = (0, 0, 0)


@dataclass(frozen=True)
class PretrainRun(BaseRun):
    """A pre-training to be done; ``data`` holds ``train/<class>/`` and ``val/<class>/``."""

    recipe: PretrainRecipe


def pretrain(run: PretrainRun, report: Callable[[str], None]) -> Path:
    """Pre-train and return the path of the best checkpoint, ``<output>/best.safetensors``.

    The folder holds what a training's does (see :func:`lemore_core.training.run.train`). The
    checkpoints hold a whole network, whose card names the parts that are still random: training
    starts from the others.

    Raises:
        RecipeError: the recipe does not fit the machine.
        DataError: the images are not where or what they should be.
        TrainingError: ``output`` holds another run, or none to resume.

    """
    report = rank_zero_only(report)
    folder = open_image_folder(run.data)
    state = set_up(run)
    if run.check and not run.resume:
        _check(folder)
    task = _task(run, folder)
    trainer = make_trainer(run, {**make_record(run), 'untrained': list(UNTRAINED)}, report)
    loaders = _training_images(run, folder, trainer), _validation_images(run, folder, trainer)
    fit(trainer, task, loaders, state, report)
    best = run.output / 'best.safetensors'
    report(f'best checkpoint: {best}')
    return best


def _check(folder: ImageFolder) -> None:
    if not is_first_here():
        return
    for images in (folder.train, folder.val):
        with tqdm(
            total=len(images), desc=f'checking {images.folder.name}', unit='image', disable=None
        ) as bar:
            require_readable(images, bar.update)


def _task(run: PretrainRun, folder: ImageFolder) -> PretrainTask:
    recipe, classes = run.recipe, folder.classes
    config = variant(
        recipe.model,
        classes=len(classes),
        height=recipe.size,
        width=recipe.size,
        **recipe.network,
    )
    network = LeMoRe(config, drop_path=recipe.drop_path)
    # what the encoder tells apart; classes of whole images have no colours to draw
    name = run.data.resolve().name
    taxonomy = Taxonomy(name, classes, (BLACK,) * len(classes))
    card = ModelCard(f'lemore_{recipe.model}_{name}', config, taxonomy, licence(name))
    return PretrainTask(recipe, card, Classifier(network, len(classes), dropout=recipe.dropout))


def _training_images(run: PretrainRun, folder: ImageFolder, trainer: Trainer) -> DataLoader[Batch]:
    recipe = run.recipe
    sampler = StepSampler(
        Order(len(folder.train), recipe.seed),
        lambda: trainer.global_step,
        steps=recipe.save_every,
        batch=recipe.batch,
        process=trainer.global_rank,
        processes=trainer.world_size,
    )
    crop = ResizedCrop(recipe.size, recipe.scale, recipe.ratio)
    return training_loader(
        CroppedImages(folder.train, crop, recipe.seed),
        sampler,
        workers=run.hardware.loaders,
        pin=run.hardware.uses_gpu,
    )


def _validation_images(
    run: PretrainRun, folder: ImageFolder, trainer: Trainer
) -> DataLoader[Batch]:
    share = folder.val.share(trainer.global_rank, trainer.world_size)
    return validation_loader(
        CentredImages(share, run.recipe.size),
        batch=run.recipe.batch // trainer.world_size,
        workers=run.hardware.loaders,
    )
