"""GPUs as PyTorch and the driver describe them, on a machine without one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lemore_core.inference.backend import BackendError
from lemore_core.inference.gpu.device import find_gpu, kernels_for


@pytest.mark.parametrize('device', ['cpu', 'cuda:x', 'warp'])
def test_a_device_that_is_no_gpu_is_named(device: str) -> None:
    with pytest.raises(BackendError, match=f'not on device {device!r}: use auto, cuda or cuda:N'):
        find_gpu(device)


@pytest.mark.skipif(torch.version.cuda is not None, reason='torch has CUDA here')
def test_a_torch_without_cuda_is_named() -> None:
    with pytest.raises(BackendError, match=r'torch with CUDA .* has none: .*pytorch\.org'):
        find_gpu('cuda')


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
    found = find_gpu(device)
    assert found.device == f'cuda:{index}'
    assert (found.name, found.capability) == (f'GPU ({26 + index} SMs)', f'8.{6 + index}')
    with pytest.raises(BackendError, match='the GPUs here are cuda:0 to cuda:1'):
        find_gpu('cuda:2')


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
    assert kernels_for(torch.device('cuda')) == expected
