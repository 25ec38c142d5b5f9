"""GPUs as torch and the driver describe them, on a machine without one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lemore_core import inference as backends
from lemore_core.inference.backend import (
    BackendError,
    ServingRequest,
)
from lemore_core.inference.gpu import device as gpu
from lemore_core.inference.gpu.device import Gpu, find_gpu
from lemore_core.inference.tensorrt.libraries import (
    ComputeCapability,
)


@pytest.mark.parametrize('device', ['cpu', 'cuda:x', 'warp'])
def test_a_device_that_is_no_gpu_is_named(device: str) -> None:
    with pytest.raises(BackendError, match=f'not on device {device!r}: use auto, cuda or cuda:N'):
        find_gpu(device)


@pytest.mark.skipif(torch.version.cuda is not None, reason='torch has CUDA here')
def test_a_torch_without_cuda_is_named(untrained_checkpoint: Path) -> None:
    pytest.importorskip('tensorrt_rtx', reason='pip install tensorrt-rtx-cu13')
    with pytest.raises(BackendError, match=r'torch with CUDA .* has none: .*pytorch\.org'):
        backends.load('tensorrt', ServingRequest(untrained_checkpoint, 64, 128))


def test_an_absent_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(BackendError, match='needs an NVIDIA GPU and its driver, torch finds none'):
        find_gpu('auto')


@pytest.mark.parametrize(('device', 'index'), [('auto', 0), ('cuda', 0), ('cuda:1', 1)])
def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch, device: str, index: int) -> None:
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    described = [
        SimpleNamespace(name='GPU', major=8, minor=6 + i, multi_processor_count=26 + i)
        for i in range(2)
    ]
    monkeypatch.setattr(torch.cuda, 'get_device_properties', described.__getitem__)
    monkeypatch.setattr(gpu, 'driver_version', lambda: '580.65')
    capability = ComputeCapability(8, 6 + index)
    assert find_gpu(device) == Gpu(index, f'GPU ({26 + index} SMs)', capability, '580.65')
    assert find_gpu(device).device == f'cuda:{index}'
    with pytest.raises(BackendError, match='the GPUs here are cuda:0 to cuda:1'):
        find_gpu('cuda:2')


@pytest.mark.parametrize(
    ('content', 'version'),
    [
        ('NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22', '550.54.14'),
        (
            'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release',
            '580.65.06',
        ),
    ],
)
def test_the_driver_says_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, version: str
) -> None:
    path = tmp_path / 'version'
    path.write_text(content)
    monkeypatch.setattr(gpu, '_KERNEL_MODULE', path)
    assert gpu.driver_version() == version
