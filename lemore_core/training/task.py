"""Steps of a run and its callbacks: checkpoints, state to resume from, averaged weights, signals."""

from __future__ import annotations

import dataclasses
import math
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchmetrics.classification import MulticlassConfusionMatrix

from lemore_core import checkpoint
from lemore_core.checkpoint import ModelCard
from lemore_core.common.errors import LemoreError
from lemore_core.common.files import atomic_write
from lemore_core.evaluation.metrics import ConfusionMatrix
from lemore_core.images.image import to_network
from lemore_core.images.render import overlay
from lemore_core.inference.sizes import network_size
from lemore_core.model.lemore import LeMoRe
from lemore_core.taxonomy import UNLABELLED_8BIT
from lemore_core.training.images import Batch, paste_objects
from lemore_core.training.losses import Objective, distillation_loss
from lemore_core.training.recipe import Recipe

STATE = 'run.ckpt'
LOSS = 'curves/loss'
FIRST_RATE = 1e-6  # where the warm-up starts
PREVIEWS = 4  # images of a validation in TensorBoard
ALPHA = 0.6  # of the colours on them
PROGRESS_SECONDS = 60.0  # between two lines where no bar is shown
STOPPING = (signal.SIGINT, signal.SIGTERM)


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


@dataclasses.dataclass(eq=False)
class Checkpoints(Callback):
    """Write ``last.safetensors`` after each validation, and ``best.safetensors`` by its mIoU.

    They record ``training``, their origin, and ``split``, the images of their figures. The state of
    the run is written after each epoch.
    """

    folder: Path
    training: dict[str, Any]
    split: str
    report: Callable[[str], None]
    best: float = -1.0

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the averaged weights, log and report the figures."""
        assert isinstance(pl_module, SegmentationTask)
        matrix = pl_module.confusion_matrix()
        is_best = matrix.mean_iou > self.best
        self.best = max(self.best, matrix.mean_iou)
        if not trainer.is_global_zero:
            return
        step = trainer.global_step
        record = {**self.training, 'step': step, 'finished': pl_module.share_done() >= 1}
        record['steps_in_all'] = steps_in_all(record)
        figures = {'split': self.split, **matrix.figures(pl_module.card.taxonomy.classes)}
        card = dataclasses.replace(pl_module.card, metrics=figures, training=record)
        for name in ('last', 'best') if is_best else ('last',):
            path = self.folder / f'{name}.safetensors'
            checkpoint.save(path, card, pl_module.network.state_dict())
        _log_validation(trainer, pl_module, matrix)
        loss = trainer.callback_metrics.get(LOSS, torch.nan)
        self.report(
            f'step {step}{f"/{trainer.max_steps}" if trainer.max_steps > 0 else ""} '
            f'loss {float(loss):.4f} mIoU {100 * matrix.mean_iou:.2f} best {100 * self.best:.2f}'
            f'{matrix.lacking(pl_module.card.taxonomy.classes)}'
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the state of the run."""
        del pl_module
        path = self.folder / STATE
        # every process takes part, the first one writes
        with atomic_write(path) if trainer.is_global_zero else nullcontext(path) as written:
            trainer.save_checkpoint(written)

    def state_dict(self) -> dict[str, Any]:
        """Return the best mIoU so far."""
        return {'best': self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best mIoU of a resumed run."""
        self.best = state_dict['best']


def steps_in_all(record: Mapping[str, Any]) -> int:
    """Return the steps of a recorded run and of those before it that its weights come from."""
    before = record.get('start', {}).get('training', {})
    return int(record.get('step', 0)) + (steps_in_all(before) if before else 0)


def _log_validation(trainer: Trainer, task: SegmentationTask, matrix: ConfusionMatrix) -> None:
    logger, taxonomy = trainer.logger, task.card.taxonomy
    assert isinstance(logger, TensorBoardLogger)
    # TensorBoard orders groups by name, and opens on the first
    curves = {'curves/mean_iou': matrix.mean_iou, 'curves/pixel_accuracy': matrix.pixel_accuracy}
    for name, iou in zip(taxonomy.classes, matrix.iou, strict=True):
        curves[f'iou/{name}'] = float(iou)
    logger.log_metrics(curves, trainer.global_step)
    for i, (image, truth, labels) in enumerate(task.previews):
        pixels = image.permute(1, 2, 0).contiguous().numpy()
        # the prediction over the image, and the truth over it
        halves = [
            overlay(pixels, 'rgb8', ids.to(torch.uint8).numpy(), taxonomy.palette, ALPHA)
            for ids in (labels, truth)
        ]
        shown = np.concatenate(halves, axis=1)
        logger.experiment.add_image(f'val/{i}', shown, trainer.global_step, dataformats='HWC')


def moving_average(decay: float) -> WeightAveraging:
    """Return an exponential moving average of weights and BatchNorm statistics over the steps."""

    def update(averages: Any, currents: Any, count: Any) -> None:
        # lower in the first steps: a short run's average would mostly hold the random start
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(kept)(averages, currents, count)  # type: ignore[no-untyped-call]

    return WeightAveraging(multi_avg_fn=update)


@dataclasses.dataclass(eq=False)
class ProgressLines(Callback):
    """Report step, loss, images a second and the time left every minute."""

    report: Callable[[str], None]
    began: tuple[float, int, float] = (0.0, 0, 0.0)  # time, step and share of the run
    reported: float = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the first minute."""
        assert isinstance(pl_module, SegmentationTask)
        self.reported = time.monotonic()
        self.began = self.reported, trainer.global_step, pl_module.share_done()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Report if a minute is over."""
        assert isinstance(pl_module, SegmentationTask)
        if time.monotonic() < self.reported + PROGRESS_SECONDS:
            return
        self.reported = time.monotonic()
        at, step, share = self.began
        seconds, done = self.reported - at, pl_module.share_done()
        rate = (trainer.global_step - step) * pl_module.recipe.batch / seconds
        left = timedelta(seconds=round(max(0, 1 - done) / max(done - share, 1e-9) * seconds))
        self.report(
            f'step {trainer.global_step} loss {float(pl_module.newest_loss):.4f}, '
            f'{rate:.1f} images/s, {left} left'
        )


class Interrupt(Callback):
    """Stop a run after its last step, on Ctrl-C or SIGTERM; a second signal ends it at once.

    A trainer validates where it is stopped: at its end, but not on a signal.
    """

    pressed = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle Ctrl-C, and the SIGTERM of service managers and job queues, within the block."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._press) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM back from Lightning, which would end the run without its state."""
        del trainer, pl_module
        if signal.getsignal(signal.SIGINT) == self._press:
            signal.signal(signal.SIGTERM, self._press)

    def _press(self, *_: Any) -> None:
        self.pressed = True
        for number in STOPPING:
            signal.signal(number, signal.default_int_handler)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Stop the processes at the same step."""
        assert isinstance(pl_module, SegmentationTask)
        is_last = 0 < trainer.max_steps <= trainer.global_step
        if trainer.strategy.reduce_boolean_decision(self.pressed, all=False):
            # the validation of a run that ends here anyway is not left out
            if not is_last and trainer.global_step % pl_module.recipe.validate_every:
                trainer.limit_val_batches = 0
            trainer.should_stop = True
        elif is_last:
            trainer.should_stop = True
