"""PyTorch, on a CPU or a CUDA device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lemore_core.backends.registry import AUTO, BackendError
from lemore_core.deploy.graph import ServingGraph, load_graph


class TorchBackend:
    """The serving graph in eager mode."""

    def __init__(self, graph: ServingGraph, device: str) -> None:
        self.device = device
        self._graph = graph.to(device)

    @torch.inference_mode()
    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of ``pixels``."""
        logits = self._graph(torch.from_numpy(pixels).to(self.device))
        return np.ascontiguousarray(logits.cpu().numpy())


def load(path: Path, height: int, width: int, device: str) -> TorchBackend:
    """Load a checkpoint for one network size.

    Raises:
        BackendError: the device is not there.
        CheckpointError: the checkpoint is not usable.

    """
    return TorchBackend(load_graph(path, height, width), _device(device))


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
