"""Tests of the GPU's way: on a GPU where there is one, else on the CPU as far as they go."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope='session')
def device() -> torch.device:
    """The GPU, or the CPU where there is none."""
    return torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')


@pytest.fixture(scope='session')
def cuda(device: torch.device) -> torch.device:
    """The GPU; without one the test is skipped."""
    if device.type != 'cuda':
        pytest.skip('no CUDA device is here')
    return device
