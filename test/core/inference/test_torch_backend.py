from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from lemore_core import inference as backends
from lemore_core.inference import BackendError, ServingRequest, registry, torch_backend
from lemore_core.inference.backend import DeviceMemoryError
from lemore_core.inference.gpu import errors
from lemore_core.inference.gpu.device import Gpu
from lemore_core.inference.torch_backend import kernels_lacking

if torch.cuda.is_available():
    pytest.skip('a GPU is here that PyTorch can use', allow_module_level=True)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a GPU, as its driver says, for a PyTorch that may be built without CUDA."""
    for module in (registry, torch_backend):
        monkeypatch.setattr(module, 'gpus', lambda: (Gpu('cuda:0', 'GPU', '8.7', '580'),))


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


@pytest.mark.usefixtures('gpu')
@pytest.mark.parametrize(
    ('message', 'kind', 'expected'),
    [
        (
            # CUDA error 209, of a wheel without sm_87 on a Jetson Orin
            'CUDA error: no kernel image is available for execution on the device\nSearch for',
            backends.BackendError,
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
