"""The PyTorch backend on a GPU; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip('safetensors', reason='pip install -e .')

from lemore_core.segmenter import Segmenter, resolve_checkpoint

if not torch.cuda.is_available():
    pytest.skip('no CUDA device is here', allow_module_level=True)


@pytest.mark.parametrize(('precision', 'share'), [('auto', 0.99), ('fp32', 0.999)])
def test_labels_are_those_of_the_cpu(
    clip_frames: list[NDArray[np.uint8]], precision: str, share: float
) -> None:
    path = resolve_checkpoint('tiny', 'camvid')
    gpu = Segmenter.load(path, backend='torch', device='cuda', precision=precision)
    cpu = Segmenter.load(path, backend='torch', device='cpu')
    assert gpu.status.device == 'cuda:0'
    assert gpu.status.precision == ('fp16' if precision == 'auto' else 'fp32')
    same = [
        gpu.segment(frame, 'bgr8').labels == cpu.segment(frame, 'bgr8').labels
        for frame in clip_frames
    ]
    assert np.mean(same) >= share


def test_auto_takes_the_gpu() -> None:
    segmenter = Segmenter.load(resolve_checkpoint('tiny', 'camvid'))
    assert (segmenter.status.backend, segmenter.status.device) == ('torch', 'cuda:0')
