"""Failing CUDA calls under a real CUDA build of PyTorch, without a GPU: ``make test-fake-cuda``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

if torch.version.cuda is None or not shutil.which('g++'):
    pytest.skip('a CUDA build of torch and g++ are needed', allow_module_level=True)

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).parent / 'fake_cuda'
SCENARIOS = re.findall(
    r'^def (\w+_\w+)\(\) -> None:', (FAKE / 'scenarios.py').read_text(), re.MULTILINE
)


@pytest.fixture(scope='session')
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a CUDA runtime and a driver that need no GPU."""
    folder = tmp_path_factory.mktemp('fake_cuda')
    packages = Path(sysconfig.get_path('purelib'), 'nvidia')
    headers = [path.parent for path in packages.glob('*/include/cuda_runtime_api.h')]
    if not headers:
        pytest.skip('the headers of the CUDA runtime come with the wheel nvidia-cuda-runtime')
    options = ['-O1', '-shared', '-fPIC']
    includes = [f'-I{FAKE / "include"}', f'-I{headers[0]}']
    library, driver = folder / 'libfakecudart.so', folder / 'libcuda.so.1'
    subprocess.run(
        ['g++', *options, '-std=c++17', *includes, FAKE / 'fakecudart.cpp', '-o', library],
        check=True,
    )
    subprocess.run(
        ['gcc', *options, '-Wl,-soname,libcuda.so.1', FAKE / 'fakecuda.c', '-o', driver], check=True
    )
    return folder


@pytest.mark.parametrize('scenario', SCENARIOS)
def test_a_failing_call(runtime: Path, scenario: str) -> None:
    libraries = {'LD_LIBRARY_PATH': runtime, 'LD_PRELOAD': runtime / 'libfakecudart.so'}
    environment = {**os.environ, 'PYTHONPATH': ROOT, **libraries}
    done = subprocess.run(
        [sys.executable, FAKE / 'scenarios.py', scenario],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.endswith('right\n')
