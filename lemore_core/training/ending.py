"""When a run ends: its steps or its time are used up, or somebody pressed Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lemore_core.training.task import SegmentationTask


class Ending(Callback):
    """Stops a run after ``iterations`` steps or, where ``seconds`` are given, after these.

    A run that stops so is validated once more; one that is interrupted only keeps its state.
    """

    def __init__(self, iterations: int, seconds: float | None) -> None:
        self.iterations = iterations
        self.seconds = seconds
        self.interrupted = False
        self._elapsed = 0.0
        self._resumed = 0.0

    @contextmanager
    def on_interrupt(self) -> Iterator[None]:
        """Have the first Ctrl-C within the block stop the run after its step; a second kills it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, *_: Any) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on counting; a run that is finished already makes no step."""
        self._resumed = time.monotonic() - self._elapsed
        if self._used(trainer, pl_module) >= 1:
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Stop where it is time to."""
        finished = self._used(trainer, pl_module) >= 1
        # processes must stop at the same step
        if trainer.strategy.reduce_boolean_decision(finished or self.interrupted, all=False):
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1 if finished else sys.maxsize

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {'elapsed': self._elapsed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave."""
        self._elapsed = state_dict['elapsed']

    def _used(self, trainer: Trainer, task: LightningModule) -> float:
        """Return how much of the run is done, 0 to 1; where time counts, tell the task."""
        assert isinstance(task, SegmentationTask)
        self._elapsed = time.monotonic() - self._resumed
        if self.seconds is None:
            return trainer.global_step / self.iterations
        # one clock for all processes: their learning rates follow it
        task.time_used = trainer.strategy.broadcast(self._elapsed / self.seconds)
        return task.time_used
