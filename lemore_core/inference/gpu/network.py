"""The serving graph in PyTorch on a device, in the precision that serves best there."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import torch
from torch import Tensor

from lemore_core.export.graph import ServingGraph
from lemore_core.inference.backend import FP16, FP32, BackendError

_log = logging.getLogger(__name__)


class DeviceNetwork:
    """Maps RGB (N, height, width, 3) uint8 on ``device`` to logits (N, h, w, classes).

    The logits are in the network's precision, fp16 or fp32. Nothing waits for the host. ``graph``
    stays what it is.
    """

    def __init__(self, graph: ServingGraph, device: torch.device, precision: str) -> None:
        self.precision = precision
        self._kind = torch.float16 if precision == FP16 else torch.float32
        graph = copy.deepcopy(graph).to(device)
        self._mean, self._std = graph.mean, graph.std if graph.divides else None
        # the layout of tensor cores; mypy knows no overload with one
        self._network = graph.network.to(self._kind).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the logits of ``pixels``."""
        # In single precision: a mean has no place in the grid of half precision, the difference
        # of a pixel and the mean loses no more there than the first convolution's own rounding.
        x = pixels.permute(0, 3, 1, 2) - self._mean
        if self._std is not None:
            x /= self._std
        x = x.to(self._kind, memory_format=torch.channels_last)
        # tf32 is a precision nobody asked for
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            logits: Tensor = self._network(x)
        return logits.permute(0, 2, 3, 1)


def place(
    graph: ServingGraph, path: Path, device: torch.device, precision: str, batch: int
) -> tuple[DeviceNetwork, str]:
    """Return a network on a device, and why it is slower than it might be, or ''.

    ``precision`` ``auto`` is half precision where the network's numbers fit it, which ``batch``
    images tell.

    Raises:
        BackendError: ``precision`` is fp16 and the network's numbers do not fit.
        RuntimeError: the device failed.

    """
    if precision != FP32:
        reason = _too_large(graph)
        if not reason:
            network = DeviceNetwork(graph, device, FP16)
            if _is_sound(network, _noise(graph, device, batch)):
                return network, ''
            reason = 'its logits are not finite'
        if precision == FP16:
            msg = f'{path} cannot be served in fp16, {reason}: use fp32'
            raise BackendError(msg)
        _log.warning('%s is served in fp32, %s in fp16', path, reason)
        return DeviceNetwork(graph, device, FP32), f'{reason} in fp16, {FP32} serves'
    return DeviceNetwork(graph, device, FP32), ''


def _too_large(graph: ServingGraph) -> str:
    """Say which weight is finite but not in half precision, or ''."""
    for name, tensor in graph.network.state_dict().items():
        if tensor.is_floating_point() and not torch.equal(
            tensor.isfinite(), tensor.half().isfinite()
        ):
            return f'{name} holds {tensor.abs().max():g}'
    return ''


def _is_sound(network: DeviceNetwork, pixels: Tensor) -> bool:
    return bool(network(pixels).isfinite().all())


def _noise(graph: ServingGraph, device: torch.device, batch: int) -> Tensor:
    config = graph.network.config
    generator = torch.Generator().manual_seed(0)
    shape = (batch, config.height, config.width, 3)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).to(device)
