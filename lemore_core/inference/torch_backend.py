"""Serve with PyTorch, on a CPU or a CUDA device."""

from __future__ import annotations

import copy
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lemore_core.export import PrecisionError
from lemore_core.export.export import street_images
from lemore_core.export.fold import ServingGraph, load_graph
from lemore_core.inference.backend import (
    AUTO,
    FP16,
    FP32,
    Backend,
    BackendError,
    DeviceMemoryError,
    DeviceUnusableError,
    ServingRequest,
    Status,
    how_to_install,
)
from lemore_core.inference.gpu.device import gpus
from lemore_core.inference.gpu.errors import first_line, guarded, is_out_of_memory
from lemore_core.inference.gpu.pipeline import GpuPipeline

_log = logging.getLogger(__name__)


def load(request: ServingRequest) -> Backend:
    """Load a checkpoint for one network size; on a GPU, run a full batch."""
    device = _device(request.device)
    if device.type == 'cuda':
        return _on_gpu(request, device)
    if request.precision == FP16:
        msg = 'PyTorch is slower in fp16 than in fp32 on a CPU: leave the precision at auto'
        raise BackendError(msg)
    # a GPU needs no numba
    from lemore_core.inference.cpu.pipeline import CpuPipeline

    graph = load_graph(request.path, *request.size).to(device)

    @torch.inference_mode()
    def network(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        # PyTorch warns about a message's read-only memory
        writeable = pixels if pixels.flags.writeable else pixels.copy()
        logits, descriptors = graph(torch.from_numpy(writeable).to(device))
        return logits.cpu().numpy(), descriptors.cpu().numpy()

    status = Status('torch', str(device), FP32, degraded=request.degraded)
    return CpuPipeline(network, request.size, graph.network.config.classes, status)


def _on_gpu(request: ServingRequest, device: torch.device) -> GpuPipeline:
    graph = load_graph(request.path, *request.size)
    what = f'{request.path.stem} for {request.width}x{request.height}'
    network, degraded = guarded(
        lambda: place(graph, request.path, device, request.precision), device, what
    )
    reasons = '; '.join(filter(None, (request.degraded, degraded)))
    precision = FP16 if network.is_half else FP32
    status = Status('torch', str(device), precision, request.batch, degraded=reasons)
    return GpuPipeline(network, request.size, status).prepare(request.expected)


def _device(name: str) -> torch.device:
    """Return the device called ``name`` after a first convolution there."""
    if name == AUTO:
        name = 'cuda' if gpus() else 'cpu'
    index = 0
    try:
        device = torch.device(name)
        if device.type == 'cuda':
            device = torch.device('cuda', index := device.index or 0)
        guarded(lambda: _convolve(device), device, 'a first convolution')
    except DeviceMemoryError:
        raise
    except (BackendError, RuntimeError, AssertionError) as error:
        reason = first_line(error)
        if name.startswith('cuda') and index < len(gpus()):
            remedy = f'{how_to_install("torch")}, in the build for this GPU and its CUDA'
            msg = f'torch {torch.__version__} cannot use the GPU ({reason}): {remedy}'
            raise DeviceUnusableError(msg) from error
        msg = f'torch cannot use device {name!r} here ({reason}): use cpu, cuda or cuda:N'
        raise BackendError(msg) from error
    return device


def _convolve(device: torch.device) -> None:
    """Run a kernel, which fails without CUDA, kernels for the GPU or cuDNN."""
    if device.type == 'cuda' and (lacking := kernels_lacking(device)):
        raise BackendError(lacking)
    image, weight = torch.ones(1, 8, 8, 8, device=device), torch.ones(8, 8, 3, 3, device=device)
    nn.functional.conv2d(image, weight).sum().item()


def kernels_lacking(device: torch.device) -> str:
    """Return that PyTorch has no kernels for a GPU; empty if it has, or does not tell."""
    major, minor = torch.cuda.get_device_capability(device)
    names = torch.cuda.get_arch_list()
    for kind, digits in re.findall(r'(sm|compute)_(\d+)', ' '.join(names)):
        built = divmod(int(digits), 10)
        # binary kernels run on later GPUs of their generation, intermediate code on any later GPU
        if built <= (major, minor) and (kind == 'compute' or built[0] == major):
            return ''
    return f'it has kernels for {", ".join(names)}, not for sm_{major}{minor}' if names else ''


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
            if network(streets)[0].isfinite().all():
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
