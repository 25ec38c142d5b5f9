from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lemore_core import inference as backends
from lemore_core.export.fold import load_graph
from lemore_core.inference import ServingRequest, registry, torch_backend
from lemore_core.inference.backend import FP16, FP32, BackendError, DeviceMemoryError
from lemore_core.inference.gpu import errors
from lemore_core.inference.gpu.device import Gpu
from lemore_core.inference.torch_backend import ConvolutionRelu, fuse_relu, kernels_lacking, place
from lemore_core.segmenter import resolve_checkpoint

CPU = torch.device('cpu')
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason='PyTorch can use the GPU here')


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a GPU, as its driver says, for a PyTorch that may be built without CUDA."""
    for module in (registry, torch_backend):
        monkeypatch.setattr(module, 'gpus', lambda: (Gpu('cuda:0', 'GPU', '8.7', '580'),))


@NO_CUDA
@pytest.mark.usefixtures('gpu')
@pytest.mark.parametrize(('name', 'device'), [('auto', 'auto'), ('torch', 'cuda:0')])
def test_a_torch_without_cuda_leaves_the_gpu_to_itself_and_says_so(
    untrained_checkpoint: Path, name: str, device: str
) -> None:
    request = ServingRequest(untrained_checkpoint, 96, 128, device=device)
    status = backends.load(name, request).status
    assert status.device == 'cpu'
    # in a build without CUDA, and in one with it where there is no driver
    reasons = '(Torch not compiled with CUDA enabled|.*Found no NVIDIA driver on your system.*)'
    assert re.fullmatch(
        rf'the CPU because torch {re.escape(torch.__version__)} cannot use the GPU \({reasons}\): '
        f'{re.escape(registry.how_to_install("torch"))}, in the build for this GPU and its CUDA',
        status.degraded,
    )


@NO_CUDA
@pytest.mark.usefixtures('gpu')
@pytest.mark.parametrize(
    ('message', 'kind', 'expected'),
    [
        (
            # CUDA error 209, of a wheel without sm_87 on a Jetson Orin
            'CUDA error: no kernel image is available for execution on the device\nSearch for',
            BackendError,
            r'cannot use the GPU \(cuda:0 failed .*: no kernel image is available .* device\): pip',
        ),
        ('CUDA error: out of memory', DeviceMemoryError, 'cuda:0 has no memory left'),
    ],
)
def test_a_first_kernel_tells_whether_there_are_any(
    untrained_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    message: str,
    kind: type[BackendError],
    expected: str,
) -> None:
    def fail(_: torch.device) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(torch_backend, '_convolve', fail)
    monkeypatch.setattr(errors, 'free_unused', lambda _: None)
    with pytest.raises(kind, match=expected):
        torch_backend.load(ServingRequest(untrained_checkpoint, 96, 128, device='cuda'))


@NO_CUDA
@pytest.mark.parametrize('device', ['cuda', 'cuda:7', 'cuda:x', 'toaster'])
def test_a_device_that_is_not_there_is_an_error(untrained_checkpoint: Path, device: str) -> None:
    request = ServingRequest(untrained_checkpoint, 96, 128, device=device)
    with pytest.raises(BackendError, match=f'torch cannot use device {device!r} here'):
        backends.load('torch', request)
    request = ServingRequest(untrained_checkpoint, 96, 128, device='cpu', precision='fp16')
    with pytest.raises(BackendError, match=r'fp16 .* on a CPU'):
        backends.load('torch', request)


@pytest.mark.parametrize(
    ('names', 'capability', 'usable'),
    [
        (['sm_80', 'sm_90'], (8, 7), True),
        (['sm_90', 'sm_110'], (8, 7), False),
        (['sm_89', 'sm_90a'], (8, 7), False),
        (['sm_75', 'compute_80'], (8, 7), True),
        (['sm_90a'], (9, 0), True),
        ([], (8, 7), True),
    ],
)
def test_a_wheel_without_kernels_for_the_gpu_is_named(
    monkeypatch: pytest.MonkeyPatch, names: list[str], capability: tuple[int, int], usable: bool
) -> None:
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: capability)
    monkeypatch.setattr(torch.cuda, 'get_arch_list', lambda: names)
    expected = '' if usable else f'it has kernels for {", ".join(names)}, not for sm_87'
    assert kernels_lacking(torch.device('cuda')) == expected


@pytest.mark.parametrize('unfit', ['a weight', 'what it computes'])
def test_what_does_not_fit_half_precision_is_served_in_single(
    untrained_checkpoint: Path, unfit: str
) -> None:
    # its random weights make numbers that grow from layer to layer
    graph = load_graph(untrained_checkpoint, 64, 64)
    reason = 'its logits of a street are not finite: use fp32'
    if unfit == 'a weight':
        name, weight = next(
            (name, p) for name, p in graph.network.named_parameters() if p.dim() == 4
        )
        weight[0] = 1e5
        reason = f'{name} holds 100000, too large for fp16: use fp32'
    before = {name: tensor.clone() for name, tensor in graph.state_dict().items()}
    network, degraded = place(graph, untrained_checkpoint, CPU, 'auto')
    assert not network.is_half
    assert degraded == f'fp32 instead of fp16: {reason}'
    with pytest.raises(BackendError, match=f'cannot be served in fp16, {reason}'):
        place(graph, untrained_checkpoint, CPU, FP16)
    assert place(graph, untrained_checkpoint, CPU, FP32)[1] == ''
    for name, tensor in graph.state_dict().items():
        assert torch.equal(tensor, before[name]), 'the graph was changed'


def test_half_precision_is_served_where_it_fits() -> None:
    path = resolve_checkpoint('nano')
    network, degraded = place(load_graph(path, 64, 64), path, CPU, 'auto')
    assert (network.is_half, degraded) == (True, '')


@pytest.mark.parametrize('has_kernels', [True, False])
def test_a_convolution_and_its_relu_are_one_call(
    monkeypatch: pytest.MonkeyPatch, has_kernels: bool
) -> None:
    calls = []

    # the arguments of torch.cudnn_convolution_relu, which no CPU has
    def convolve(x: Tensor, weight: Tensor, bias: Tensor, *sides: object) -> Tensor:
        calls.append(sides)
        if not has_kernels:
            msg = 'GET was unable to find an engine to execute this computation'
            raise RuntimeError(msg)
        return nn.functional.conv2d(x, weight, bias, *sides).relu()

    monkeypatch.setattr(torch, 'cudnn_convolution_relu', convolve)
    graph = load_graph(resolve_checkpoint('nano'), 64, 64)
    fused = copy.deepcopy(graph)
    fuse_relu(fused.network)
    count = sum(isinstance(module, ConvolutionRelu) for module in fused.modules())
    assert count > 20
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    for runs in (1, 2):
        assert torch.equal(fused(pixels)[0], graph(pixels)[0])
        # without kernels each layer tries it once
        assert len(calls) == count * (runs if has_kernels else 1)
