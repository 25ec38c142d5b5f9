"""One step of training and of validation, as Lightning calls them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassConfusionMatrix

from lemore_core.checkpoint import ModelCard
from lemore_core.evaluation.metrics import ConfusionMatrix
from lemore_core.images.image import to_network
from lemore_core.inference.sizes import network_size
from lemore_core.model.lemore import LeMoRe
from lemore_core.taxonomy import UNLABELLED_8BIT
from lemore_core.training.images import Batch
from lemore_core.training.losses import Objective
from lemore_core.training.mixing import paste_objects
from lemore_core.training.recipe import Recipe
from lemore_core.training.teacher import Teacher, distillation_loss

FIRST_RATE = 1e-6  # where the warm-up starts
PREVIEWS = 4  # images that a validation shows
# TensorBoard orders groups by name, and opens on the first
LOSS, MEAN_IOU, PIXEL_ACCURACY = 'curves/loss', 'curves/mean_iou', 'curves/pixel_accuracy'


@dataclass(frozen=True)
class Score:
    """What a validation found: ``figures`` are what checkpoints record, ``curves`` what is drawn."""

    mean_iou: float
    figures: dict[str, Any]
    curves: dict[str, float]


class SegmentationTask(LightningModule):
    """Trains a LeMoRe by a recipe; ``card`` is what its checkpoints will say of themselves."""

    def __init__(
        self,
        recipe: Recipe,
        card: ModelCard,
        network: LeMoRe,
        objective: Objective,
        teacher: Teacher | None = None,
        rare: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.card = card
        # planes side by side make a step on a CPU half as long again
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        # share of the run's time that is used, None where its steps are counted
        self.time_used: float | None = None
        self.objective = objective
        self.teacher = teacher
        self.rare = rare
        self.confusion = MulticlassConfusionMatrix(
            card.config.classes, ignore_index=UNLABELLED_8BIT, validate_args=False
        )
        self.previews: list[tuple[Tensor, Tensor, Tensor]] = []
        self._resized: dict[tuple[int, int], LeMoRe] = {}

    def configure_optimizers(self) -> Any:
        """Return AdamW, and its rate: a linear warm-up, then a polynomial decay to zero."""
        recipe = self.recipe
        optimizer = torch.optim.AdamW(parameter_groups(self.network, recipe))
        start = FIRST_RATE / recipe.learning_rate if recipe.learning_rate else 1.0

        def factor(step: int) -> float:
            used = step / recipe.iterations if self.time_used is None else self.time_used
            decay = float(max(1.0 - used, 0.0) ** recipe.poly_power)
            if step >= recipe.warmup:
                return decay
            return decay * float(start + (1 - start) * (step + 1) / recipe.warmup)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed what is random in this step, so that a resumed run repeats an unbroken one."""
        del batch, batch_idx
        torch.manual_seed(hash((self.recipe.seed, self.global_step, self.global_rank)))

    def normalised(self, images: Tensor) -> Tensor:
        """Return RGB (N, 3, H, W) uint8 as the network takes it, float."""
        like = next(self.network.parameters())
        mean, std = (like.new_tensor(v).view(3, 1, 1) for v in (self.card.mean, self.card.std))
        return ((images.to(like.dtype) - mean) / std).contiguous(memory_format=torch.channels_last)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of RGB (N, 3, H, W) uint8 and ids (N, H, W) uint8."""
        del batch_idx
        # the same grid in every process, since the batch is one
        dice = random.Random(hash((self.recipe.seed, self.global_step)))  # noqa: S311
        stride = self.objective.stride
        if self.rare is not None and self.recipe.paste:
            batch = paste_objects(*batch, self.rare.to(batch[1].device), self.recipe.paste)
        loss = self.loss(*batch, (dice.randrange(stride), dice.randrange(stride)))
        self.log(LOSS, loss)
        return loss

    def loss(self, images: Tensor, masks: Tensor, offset: tuple[int, int]) -> Tensor:
        """Return the loss of RGB (N, 3, H, W) uint8 and ids (N, H, W) uint8, a scalar.

        ``offset`` places the grid of pixels that the loss looks at.
        """
        normalised = self.normalised(images)
        logits = full_precision(self.network(normalised))
        loss = self.objective(logits, masks.long(), offset)
        if self.teacher is not None and self.recipe.distill:
            taught = distillation_loss(
                logits, self.teacher(images, normalised), self.recipe.temperature
            )
            loss = loss + self.recipe.distill * taught
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self.confusion.reset()
        self.previews.clear()
        self._resized.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Segment one image (1, 3, H, W) whole, at one scale, and compare at its own size."""
        del batch_idx
        images, masks = batch
        height, width = masks.shape[-2:]
        size = network_size((self.recipe.height, self.recipe.width), (height, width))
        image = images[0].permute(1, 2, 0).contiguous().cpu().numpy()
        pixels = torch.from_numpy(to_network(image, 'rgb8', *size)).to(images.device)
        normalised = self.normalised(pixels[None].permute(0, 3, 1, 2))
        logits = self._network_for(size)(normalised).float()
        labels = functional.interpolate(logits, (height, width), mode='bilinear').argmax(1)
        self.confusion.update(labels, masks.long())
        if len(self.previews) < PREVIEWS:
            self.previews.append((images[0].cpu(), masks[0].cpu(), labels[0].cpu()))

    def score(self) -> Score:
        """Return mIoU and the figures of each class, over all processes, which all must ask."""
        matrix = ConfusionMatrix(self.card.config.classes)
        matrix.counts += self.confusion.compute().cpu().numpy()
        names = self.card.taxonomy.classes
        curves = {MEAN_IOU: matrix.mean_iou, PIXEL_ACCURACY: matrix.pixel_accuracy}
        for name, iou in zip(names, matrix.iou, strict=True):
            curves[f'iou/{name}'] = float(iou)
        return Score(matrix.mean_iou, matrix.figures(names), curves)

    def _network_for(self, size: tuple[int, int]) -> LeMoRe:
        if size == (self.recipe.height, self.recipe.width):
            return self.network
        network = self._resized.get(size)
        if network is None:
            network = self.network.resized(*size)
            self._resized[size] = network
        return network


def full_precision(logits: Tensor) -> Tensor:
    """Return logits in single precision at least."""
    # mixed precision leaves half precision behind, in which a sum over pixels overflows
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the optimiser's groups: the head has its own rate, vectors are not decayed."""
    groups = []
    for is_head in (False, True):
        rate = recipe.learning_rate * (recipe.head_rate if is_head else 1.0)
        for is_matrix in (False, True):
            parameters = [
                parameter
                for name, parameter in network.named_parameters()
                if name.startswith('head.') == is_head and (parameter.dim() > 1) == is_matrix
            ]
            decay = recipe.weight_decay if is_matrix else 0.0
            groups.append({'params': parameters, 'lr': rate, 'weight_decay': decay})
    return groups
