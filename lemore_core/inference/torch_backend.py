"""Serve with PyTorch, on a CPU or a CUDA device."""

from __future__ import annotations

import re

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lemore_core.export.graph import load_graph
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
)
from lemore_core.inference.cpu.pipeline import CpuPipeline
from lemore_core.inference.gpu.device import gpus
from lemore_core.inference.gpu.errors import first_line, guarded
from lemore_core.inference.gpu.network import place
from lemore_core.inference.gpu.pipeline import GpuPipeline
from lemore_core.inference.registry import how_to_install


def load(request: ServingRequest) -> Backend:
    """Load a checkpoint for one network size; on a GPU, run a full batch."""
    device = _device(request.device)
    if device.type == 'cuda':
        return _on_gpu(request, device)
    if request.precision == FP16:
        msg = 'PyTorch is slower in fp16 than in fp32 on a CPU: leave the precision at auto'
        raise BackendError(msg)
    graph = load_graph(request.path, *request.size).to(device)

    @torch.inference_mode()
    def network(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        # PyTorch warns about a message's read-only memory
        writeable = pixels if pixels.flags.writeable else pixels.copy()
        logits: Tensor = graph(torch.from_numpy(writeable).to(device))
        return logits.cpu().numpy()

    status = Status('torch', str(device), FP32, degraded=request.degraded)
    return CpuPipeline(network, request.size, graph.network.config.classes, status)


def _on_gpu(request: ServingRequest, device: torch.device) -> GpuPipeline:
    graph = load_graph(request.path, *request.size)
    network, degraded = guarded(
        lambda: place(graph, request.path, device, request.precision),
        device,
        f'{request.path.stem} for {request.width}x{request.height}',
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
            index = device.index or 0
            device = torch.device('cuda', index)
        guarded(lambda: _convolve(device), device, 'a first convolution')
    except DeviceMemoryError:
        raise
    except (BackendError, RuntimeError, AssertionError) as error:
        reason = first_line(error)
        if name.startswith('cuda') and index < len(gpus()):
            msg = (
                f'torch {torch.__version__} cannot use the GPU ({reason}): '
                f'{how_to_install("torch")}, in the build for this GPU and its CUDA'
            )
            raise DeviceUnusableError(msg) from error
        msg = f'torch cannot use device {name!r} here ({reason}): use cpu, cuda or cuda:N'
        raise BackendError(msg) from error
    return device


def _convolve(device: torch.device) -> None:
    """Run a kernel, which fails without CUDA, kernels for the GPU or cuDNN."""
    if device.type == 'cuda' and (lacking := kernels_lacking(device)):
        raise BackendError(lacking)
    image, weight = torch.ones(1, 8, 8, 8, device=device), torch.ones(8, 8, 3, 3, device=device)
    torch.nn.functional.conv2d(image, weight).sum().item()


def kernels_lacking(device: torch.device) -> str:
    """Return that PyTorch has no kernels for a GPU; empty if it has, or does not tell.

    Binary kernels run on later GPUs of their generation, intermediate code on any later GPU.
    """
    major, minor = torch.cuda.get_device_capability(device)
    names = torch.cuda.get_arch_list()
    for name in names:
        kind, _, digits = name.partition('_')
        number = re.match(r'\d+', digits)
        built = divmod(int(number[0]), 10) if number else (0, 0)
        if built <= (major, minor) and (kind == 'compute' or built[0] == major):
            return ''
    return f'it has kernels for {", ".join(names)}, not for sm_{major}{minor}' if names else ''
