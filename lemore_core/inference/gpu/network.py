"""Place the serving graph on a GPU, in half precision where its numbers fit."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lemore_core.export import PrecisionError
from lemore_core.export.export import street_images
from lemore_core.export.graph import ServingGraph
from lemore_core.inference.backend import FP16, FP32, BackendError
from lemore_core.inference.gpu.errors import first_line, is_out_of_memory

_log = logging.getLogger(__name__)


class ConvolutionRelu(nn.Module):
    """Convolution, bias and ReLU as one cuDNN call, or one by one if cuDNN has no such kernel."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.is_fused = True

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations of ``x`` (N, C, H, W)."""
        layer = self.convolution
        if self.is_fused:
            try:
                weights = layer.weight, layer.bias
                sides: tuple[Any, Any, Any] = layer.stride, layer.padding, layer.dilation
                return torch.cudnn_convolution_relu(x, *weights, *sides, layer.groups)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                self.is_fused = False
                _log.info('no fused kernel for %s: %s', layer, first_line(error))
        activations: Tensor = layer(x).relu_()
        return activations


def fuse_relu(module: nn.Module) -> None:
    """Replace each convolution and the ReLU after it by a :class:`ConvolutionRelu`."""
    for child in module.children():
        fuse_relu(child)
    if isinstance(module, nn.Sequential):
        for i in range(len(module) - 1):
            layer = module[i]
            if isinstance(layer, nn.Conv2d) and isinstance(module[i + 1], nn.ReLU):
                module[i], module[i + 1] = ConvolutionRelu(layer), nn.Identity()


def on_device(graph: ServingGraph, device: torch.device) -> ServingGraph:
    """Return a copy of a graph on a device, in the layout of its tensor cores."""
    graph = copy.deepcopy(graph).to(device)
    if device.type == 'cuda':
        fuse_relu(graph.network)
    # mypy knows no overload with a layout
    graph.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not graph.is_half:
        # for the whole process: TF32 has a mantissa of 10 bits
        torch.backends.cudnn.allow_tf32 = False
    return graph


@torch.inference_mode()
def place(
    graph: ServingGraph, path: Path, device: torch.device, precision: str
) -> tuple[ServingGraph, str]:
    """Return a network that has run on ``device``, and the reason of a slower precision."""
    config = graph.network.config
    streets = torch.from_numpy(street_images(config.height, config.width)).to(device)
    reason = ''
    if precision != FP32:
        try:
            network = on_device(copy.deepcopy(graph).halve(), device)
            if network(streets).isfinite().all():
                return network, ''
            reason = 'its logits of a street are not finite: use fp32'
        except PrecisionError as error:
            reason = str(error)
        if precision == FP16:
            msg = f'{path} cannot be served in fp16, {reason}'
            raise BackendError(msg)
        _log.warning('%s is served in fp32: in fp16 %s', path, reason)
    network = on_device(graph, device)
    network(streets)
    return network, f'fp32 instead of fp16: {reason}' if reason else ''
