"""PyTorch, on a CPU or a CUDA device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lemore_core.backends.backend import AUTO, FP16, FP32, BackendError, ServingRequest, Status
from lemore_core.backends.host_road import HostRoad
from lemore_core.deploy.graph import ServingGraph, load_graph


class TorchNetwork:
    """The serving graph in eager mode."""

    def __init__(self, graph: ServingGraph, device: str) -> None:
        self._device = device
        self._graph = graph.to(device)

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of ``pixels``."""
        logits: NDArray[np.float32] = (
            self._graph(torch.from_numpy(pixels).to(self._device)).cpu().numpy()
        )
        return logits


def load(request: ServingRequest) -> HostRoad:
    """Load a checkpoint for one network size.

    Raises:
        BackendError: the device is not there, or has no half precision.
        CheckpointError: the checkpoint is not usable.

    """
    device = _device(request.device)
    if device == 'cpu' and request.precision == FP16:
        msg = 'PyTorch is slower in fp16 than in fp32 on a CPU: leave the precision at auto'
        raise BackendError(msg)
    graph = load_graph(request.path, *request.size)
    return HostRoad(
        TorchNetwork(graph, device),
        request.size,
        graph.network.config.classes,
        Status('torch', device, FP32),
    )


def _device(name: str) -> str:
    if name == AUTO:
        return 'cuda:0' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        msg = f'torch cannot use device {name!r} here ({reason}): use cpu, cuda or cuda:N'
        raise BackendError(msg) from error
    return str(device)
