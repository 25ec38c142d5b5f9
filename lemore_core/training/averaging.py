"""The moving average of the weights, which is what is evaluated and saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """Exponential moving average of weights and BatchNorm statistics after each step."""

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=_moving_average(decay))


def _moving_average(decay: float) -> Callable[[Any, Any, Tensor | int], None]:
    @torch.no_grad()
    def update(averages: list[Tensor], currents: list[Tensor], count: Tensor | int) -> None:
        # early on the average would mostly remember the random start
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        for average, current in zip(averages, currents, strict=True):
            if average.is_floating_point():
                average.lerp_(current.to(average.dtype), 1 - kept)
            else:
                average.copy_(current)

    return update
