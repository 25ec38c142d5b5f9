"""Callbacks of a run: checkpoints, the state to resume from, averaged weights, progress, Ctrl-C."""

from __future__ import annotations

import dataclasses
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
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lemore_core import checkpoint
from lemore_core.common.files import atomic_write
from lemore_core.evaluation.metrics import ConfusionMatrix
from lemore_core.images.render import overlay
from lemore_core.training.task import LOSS, SegmentationTask

STATE = 'run.ckpt'
ALPHA = 0.6
PROGRESS_SECONDS = 60.0  # between two lines where no bar is shown


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
    """Stop a run after its step on Ctrl-C, without a validation; a second Ctrl-C ends it at once."""

    pressed = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle Ctrl-C within the block."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._press)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _press(self, *_: Any) -> None:
        self.pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Stop the processes at the same step."""
        if not trainer.strategy.reduce_boolean_decision(self.pressed, all=False):
            return
        assert isinstance(pl_module, SegmentationTask)
        # the validation of a run that ends here anyway is not left out
        if not trainer.should_stop and trainer.global_step % pl_module.recipe.validate_every:
            trainer.limit_val_batches = 0
        trainer.should_stop = True
