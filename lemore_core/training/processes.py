"""What the processes of a run do together: sums, and BatchNorm over all of them."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import Tensor, distributed, nn


def process_count() -> int:
    """Return how many processes train together, 1 without a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of ``value`` over the processes; no gradient flows through it.

    A mean, because the processes' gradients are averaged: dividing by it makes their average what
    one process would have had.
    """
    count = process_count()
    value = value.detach().clone()
    if count > 1:
        distributed.all_reduce(value)
    return value / count


class _SumOverProcesses(torch.autograd.Function):
    """A sum that every process gets, so every process's gradient flows back into each term."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        summed = value.clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        return _SumOverProcesses.forward(None, gradients[0])


def _sum_over_processes(value: Tensor) -> Tensor:
    summed: Tensor = _SumOverProcesses.apply(value)  # type: ignore[no-untyped-call]
    return summed


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm with the statistics of the batches of all processes, on any device.

    PyTorch's own runs on GPUs only.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Normalise ``input`` (N, C, H, W); every process holds as many values."""
        count = process_count()
        if not self.training or count == 1:
            return super().forward(input)
        axes = (0, 2, 3)
        mean = _sum_over_processes(input.mean(axes)) / count
        centred = input - mean[:, None, None]
        variance = _sum_over_processes(centred.square().mean(axes)) / count
        self._remember(mean.detach(), variance.detach(), count * input[:, 0].numel())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normalised: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, values: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        momentum = 0.0 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * values / (values - 1), momentum)
        self.num_batches_tracked.add_(1)


class BatchNormSync(LayerSync):
    """Has Lightning replace BatchNorm by the one above when several processes start."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace every BatchNorm; parameters and statistics stay the same tensors."""
        return _replaced(model, nn.BatchNorm2d, SynchronisedBatchNorm2d)

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo :meth:`apply`."""
        return _replaced(model, SynchronisedBatchNorm2d, nn.BatchNorm2d)


def _replaced(model: nn.Module, old: type[nn.BatchNorm2d], new: type[nn.BatchNorm2d]) -> nn.Module:
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is old:
                layer = new(child.num_features, eps=child.eps, momentum=child.momentum)
                layer.train(child.training)
                for key, tensor in [*child.named_parameters(), *child.named_buffers()]:
                    setattr(layer, key, tensor)
                setattr(module, name, layer)
    return model
