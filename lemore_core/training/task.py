"""Training and validation step of a run."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassConfusionMatrix

from lemore_core.checkpoint import ModelCard
from lemore_core.common.errors import LemoreError
from lemore_core.evaluation.metrics import ConfusionMatrix
from lemore_core.images.image import to_network
from lemore_core.inference.sizes import network_size
from lemore_core.model.lemore import LeMoRe
from lemore_core.taxonomy import UNLABELLED_8BIT
from lemore_core.training.images import Batch, paste_objects
from lemore_core.training.losses import Objective, distillation_loss
from lemore_core.training.recipe import Recipe

FIRST_RATE = 1e-6  # where the warm-up starts
PREVIEWS = 4  # images of a validation in TensorBoard
LOSS = 'curves/loss'


class DivergedError(LemoreError):
    """A run whose loss or gradient is not finite."""


class SegmentationTask(LightningModule):
    """Train a LeMoRe by a recipe.

    ``card`` describes its checkpoints. ``clock`` returns the used share of a run's time, None where
    its steps are counted. ``rare`` are the ids of the classes that are pasted.
    """

    def __init__(
        self,
        recipe: Recipe,
        card: ModelCard,
        network: LeMoRe,
        objective: Objective,
        rare: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.card = card
        # planes side by side make a step on a CPU half as long again
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        self.objective = objective
        self.rare = rare
        self.clock: Callable[[], float] | None = None
        self.confusion = MulticlassConfusionMatrix(
            card.config.classes, ignore_index=UNLABELLED_8BIT, validate_args=False
        )
        self.previews: list[tuple[Tensor, Tensor, Tensor]] = []
        self.newest_loss = torch.zeros(())
        self._time_used = 0.0
        self._resized: dict[tuple[int, int], LeMoRe] = {}

    def share_done(self) -> float:
        """Return how much of the run's steps, or of its time, is used."""
        return self.global_step / self.recipe.iterations if self.clock is None else self.clock()

    def configure_optimizers(self) -> Any:
        """Return AdamW, and its rate: a linear warm-up, then a polynomial decay to zero."""
        recipe = self.recipe
        optimizer = torch.optim.AdamW(parameter_groups(self.network, recipe))
        start = FIRST_RATE / recipe.learning_rate if recipe.learning_rate else 1.0

        def factor(step: int) -> float:
            used = step / recipe.iterations if self.clock is None else self._time_used
            decay = float(max(1.0 - used, 0.0) ** recipe.poly_power)
            if step >= recipe.warmup:
                return decay
            return decay * float(start + (1 - start) * (step + 1) / recipe.warmup)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return [optimizer], [{'scheduler': schedule, 'interval': 'step'}]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Read the clock, and seed the step so that a resumed run repeats an unbroken one."""
        del batch, batch_idx
        torch.manual_seed(hash((self.recipe.seed, self.global_step, self.global_rank)))
        if self.clock is not None:
            # one clock for all processes: their learning rates must be the same
            self._time_used = self.trainer.strategy.broadcast(self.clock())

    def normalised(self, images: Tensor) -> Tensor:
        """Return RGB (N, 3, H, W) uint8 as network input, float."""
        like = next(self.network.parameters())
        mean, std = (like.new_tensor(v).view(3, 1, 1) for v in (self.card.mean, self.card.std))
        return ((images.to(like.dtype) - mean) / std).contiguous(memory_format=torch.channels_last)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of RGB (N, 3, H, W) uint8, ids (N, H, W) uint8 and perhaps soft labels."""
        del batch_idx
        # the same grid in every process, since the batch is one
        dice = random.Random(hash((self.recipe.seed, self.global_step)))  # noqa: S311
        stride = self.objective.stride
        if self.rare is not None and self.recipe.paste:
            images, masks = batch  # objects are not pasted where there are soft labels
            batch = paste_objects(images, masks, self.rare.to(masks.device), self.recipe.paste)
        images, masks, *soft = batch
        logits = self.network(self.normalised(images))
        # half precision overflows in a sum over pixels
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        offset = dice.randrange(stride), dice.randrange(stride)
        loss = self.objective(logits, masks.long(), offset)
        for labels in soft:
            divergence = distillation_loss(logits, labels, self.recipe.temperature)
            loss = self.recipe.hard * loss + self.recipe.distill * divergence
        self.log(LOSS, loss, prog_bar=True)
        self.newest_loss = loss.detach()
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Raise an error in every process if the loss or the gradient is not finite in one."""
        del optimizer
        loss = norm = float(self.newest_loss)
        if self.recipe.precision != '16':  # whose scaler leaves out steps that overflow
            # without a bound this only measures the gradient
            norm = float(nn.utils.clip_grad_norm_(self.parameters(), math.inf))
        diverged = not math.isfinite(loss + norm)
        if self.trainer.strategy.reduce_boolean_decision(diverged, all=False):
            msg = (
                f'loss {loss:g}, gradient {norm:g} in step {self.global_step + 1}: the training '
                'diverged and ended; start from last.safetensors (--start), or anew if there is '
                'none, with a lower learning_rate, or precision=32'
            )
            raise DivergedError(msg)

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
        if size not in self._resized:
            own = size == (self.recipe.height, self.recipe.width)
            self._resized[size] = self.network if own else self.network.resized(*size)
        logits = self._resized[size](normalised).float()
        labels = functional.interpolate(logits, (height, width), mode='bilinear').argmax(1)
        self.confusion.update(labels, masks.long())
        if len(self.previews) < PREVIEWS:
            self.previews.append((images[0].cpu(), masks[0].cpu(), labels[0].cpu()))

    def confusion_matrix(self) -> ConfusionMatrix:
        """Return the counts of the last validation over all processes, a collective call."""
        matrix = ConfusionMatrix(self.card.config.classes)
        matrix.counts += self.confusion.compute().cpu().numpy()
        return matrix


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
