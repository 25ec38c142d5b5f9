"""Place the serving graph on a GPU, in half precision where its numbers fit."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import torch
from torch import Tensor

from lemore_core.export import PrecisionError
from lemore_core.export.export import street_images
from lemore_core.export.graph import ServingGraph
from lemore_core.inference.backend import FP16, FP32, BackendError

_log = logging.getLogger(__name__)


class DeviceNetwork:
    """A copy of a graph on a device.

    Maps RGB (N, height, width, 3) uint8 to logits (N, h, w, classes) float32.
    """

    def __init__(self, graph: ServingGraph, device: torch.device) -> None:
        self._graph = copy.deepcopy(graph).to(device)
        # the layout of tensor cores; mypy knows no overload with one
        self._graph.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if not graph.is_half:
            # for the whole process: TF32 has a mantissa of 10 bits
            torch.backends.cudnn.allow_tf32 = False

    @property
    def precision(self) -> str:
        """``fp16`` or ``fp32``."""
        return FP16 if self._graph.is_half else FP32

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the logits of ``pixels``."""
        logits: Tensor = self._graph(pixels)
        return logits


def place(
    graph: ServingGraph, path: Path, device: torch.device, precision: str
) -> tuple[DeviceNetwork, str]:
    """Return a network that has run on ``device``, and the reason of a slower precision."""
    config = graph.network.config
    streets = torch.from_numpy(street_images(config.height, config.width)).to(device)
    reason = ''
    if precision != FP32:
        try:
            network = DeviceNetwork(copy.deepcopy(graph).halve(), device)
            if network(streets).isfinite().all():
                return network, ''
            reason = 'its logits of a street are not finite: use fp32'
        except PrecisionError as error:
            reason = str(error)
        if precision == FP16:
            msg = f'{path} cannot be served in fp16, {reason}'
            raise BackendError(msg)
        _log.warning('%s is served in fp32: in fp16 %s', path, reason)
    network = DeviceNetwork(graph, device)
    network(streets)
    return network, f'fp32 instead of fp16: {reason}' if reason else ''
