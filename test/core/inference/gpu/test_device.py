"""GPUs as the driver describes them: here one without a GPU, from test/gpu/fake_cuda."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lemore_core.inference.backend import BackendError
from lemore_core.inference.gpu import device as device_module
from lemore_core.inference.gpu.device import Gpu, find_gpu, gpus

SOURCE = Path(__file__).parents[3] / 'gpu' / 'fake_cuda' / 'fakecuda.c'


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A driver of CUDA 13.0 with one GPU; the path is that of its kernel module's version."""
    if not shutil.which('gcc'):
        pytest.skip('gcc is needed')
    library = tmp_path / 'libcuda.so.1'
    subprocess.run(['gcc', '-shared', '-fPIC', SOURCE, '-o', library], check=True)
    monkeypatch.setattr(device_module, 'CUDA_DRIVER', str(library))
    monkeypatch.setattr(device_module, 'KERNEL_MODULE', tmp_path / 'version')
    gpus.cache_clear()
    yield tmp_path / 'version'
    gpus.cache_clear()


@pytest.mark.parametrize('device', ['auto', 'cuda', 'cuda:0'])
def test_a_gpu_is_described(driver: Path, device: str) -> None:
    assert find_gpu(device) == Gpu('cuda:0', 'Fake GPU (16 SMs)', '8.6', 'CUDA 13000')
    gpus.cache_clear()
    driver.write_text('NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06\nGCC version')
    assert find_gpu(device).driver.endswith('580.65.06')
    with pytest.raises(BackendError, match="no device 'cuda:2', the GPUs here are cuda:0: see"):
        find_gpu('cuda:2')


@pytest.mark.parametrize('device', ['cpu', 'cuda:x', 'warp'])
def test_a_device_that_is_no_gpu_is_named(device: str) -> None:
    with pytest.raises(BackendError, match=f'not on device {device!r}: use auto, cuda or cuda:N'):
        find_gpu(device)


def test_an_absent_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, 'gpus', lambda: ())
    with pytest.raises(BackendError, match="no device 'auto', the GPUs here are none: see nvidia"):
        find_gpu('auto')
