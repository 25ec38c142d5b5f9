"""Decoding on a device against decoding on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lemore_core.inference.cpu.decode import decode
from lemore_core.inference.gpu import decode as device_decode

ROOT = Path(__file__).parents[4]
MARGIN = 1e-4

Floats = NDArray[np.float32]


def noise(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def smooth(*shape: int) -> Floats:
    count, height, width, classes = shape
    planes = [
        cv2.GaussianBlur(plane, (0, 0), 2)
        for plane in 8 * noise(count * classes, height, width, seed=1)
    ]
    return np.ascontiguousarray(
        np.stack(planes).reshape(count, classes, height, width).transpose(0, 2, 3, 1)
    )


def decoded(logits: Tensor, size: tuple[int, int]) -> tuple[NDArray[np.integer], NDArray[np.uint8]]:
    labels, confidence, finite = written(logits, size)
    assert finite.all()
    return labels, confidence


def written(logits: Tensor, size: tuple[int, int]) -> list[NDArray[Any]]:
    """Return labels, confidence and which images are finite."""
    count, _, _, classes = logits.shape
    labels = torch.zeros(count, *size, dtype=torch.uint8 if classes <= 255 else torch.int16)
    confidence = torch.zeros(count, *size, dtype=torch.uint8)
    finite = torch.zeros(count, dtype=torch.bool)
    device_decode.decode(logits, labels, confidence, finite)
    found = labels.numpy()
    return [found if classes <= 255 else found.view(np.uint16), confidence.numpy(), finite.numpy()]


def check(logits: Floats, size: tuple[int, int], kind: torch.dtype = torch.float32) -> None:
    values = torch.from_numpy(logits).to(kind)
    labels, confidence = decoded(values, size)
    for one, found, share in zip(values.float().numpy(), labels, confidence, strict=True):
        expected, expected_share = decode(one, *size)
        planes = torch.from_numpy(one.astype(np.float64)).permute(2, 0, 1)[None]
        full = functional.interpolate(planes, size, mode='bilinear', align_corners=False)[0]
        best = full.topk(min(2, len(full)), dim=0).values
        clear = (best[0] - best[-1] > MARGIN).numpy() | (len(full) == 1)
        np.testing.assert_array_equal(found[clear], expected[clear])
        same = found == expected
        assert same.mean() > 0.999
        assert np.abs(share.astype(int) - expected_share)[same].max() <= 1


@pytest.mark.parametrize('kind', [torch.float32, torch.float16])
@pytest.mark.parametrize('classes', [1, 2, 11, 19, 150, 171, 255, 256, 300])
def test_classes(classes: int, kind: torch.dtype) -> None:
    check(noise(1, 4, 5, classes), (10, 12), kind)
    check(smooth(2, 4, 5, classes), (10, 12), kind)


@pytest.mark.parametrize('seed', range(20))
def test_sizes(seed: int) -> None:
    random = np.random.default_rng(seed)
    h, w, height, width = (int(n) for n in random.integers(1, [14, 14, 60, 40]))
    check(noise(1, h, w, 7, seed=seed), (height, width))


@pytest.mark.parametrize(
    ('low', 'high'),
    [
        ((1, 1), (1, 1)),
        ((1, 2), (1, 200)),
        ((2, 1), (200, 1)),
        ((33, 20), (7, 5)),
        ((8, 8), (8, 8)),
    ],
)
def test_extreme_ratios(low: tuple[int, int], high: tuple[int, int]) -> None:
    check(noise(1, *low, 12), high)


@pytest.mark.parametrize(
    ('low', 'classes', 'high'),
    [((64, 64), 150, (512, 512)), ((40, 72), 11, (540, 960)), ((64, 64), 19, (31, 40))],
)
def test_cameras(low: tuple[int, int], classes: int, high: tuple[int, int]) -> None:
    check(smooth(1, *low, classes), high)


def test_any_strides() -> None:
    planes = noise(2, 11, 6, 5)
    values = torch.from_numpy(planes)
    expected = decoded(values.permute(0, 2, 3, 1).contiguous(), (30, 25))
    padded = functional.pad(values, (3, 2, 1, 1))[:, :, 1:-1, 3:-2]
    for logits in (values.permute(0, 2, 3, 1), padded.permute(0, 2, 3, 1)):
        for found, wanted in zip(decoded(logits, (30, 25)), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_some_of_the_classes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.from_numpy(noise(2, 7, 8, 5))
    expected = decoded(logits, (50, 40))
    for numbers in (1, 50 * 40 * 3):
        monkeypatch.setattr(device_decode, 'HELD_NUMBERS', numbers)
        for found, wanted in zip(decoded(logits, (50, 40)), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_the_lowest_class_wins_a_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    for numbers in (1, 10**9):
        monkeypatch.setattr(device_decode, 'HELD_NUMBERS', numbers)
        labels, confidence = decoded(torch.full((1, 4, 5, 4), 7.0), (32, 40))
        assert not labels.any()
        assert np.unique(confidence).tolist() == [64]  # 255 / 4 rounded


@pytest.mark.parametrize('values', [(np.nan,), (np.inf,), (-np.inf,), (np.nan, np.inf, -np.inf)])
def test_logits_that_are_not_finite_are_found_in_their_image(values: tuple[float, ...]) -> None:
    logits = noise(3, 6, 7, 5)
    logits[1, 2, 3, : len(values)] = values
    labels, _, finite = written(torch.from_numpy(logits), (30, 35))
    assert finite.tolist() == [True, False, True]
    assert labels.max() < 5


def test_ids_beyond_fifteen_bits() -> None:
    logits = np.zeros((1, 1, 2, 65535), np.float32)
    logits[0, 0, 0, 65534] = logits[0, 0, 1, 256] = 30
    labels, _ = decoded(torch.from_numpy(logits), (1, 4))
    assert labels.tolist() == [[[65534, 65534, 256, 256]]]


KERNEL = """
import sys
import numpy as np
import torch
from lemore_core.inference.cpu.decode import decode
from lemore_core.inference.gpu.decode_kernel import decode_fused
for classes, kind in ((19, torch.float16), (300, torch.float32)):
    wide = classes > 255
    logits = torch.from_numpy(np.load(sys.argv[1])[:, :, :, :classes].copy()).to(kind)
    labels = torch.zeros(2, 37, 50, dtype=torch.int16 if wide else torch.uint8)
    confidence = torch.zeros(2, 37, 50, dtype=torch.uint8)
    decode_fused(logits, labels, confidence)
    for one, found, share in zip(logits.float().numpy(), labels.numpy(), confidence.numpy()):
        expected, expected_share = decode(one, 37, 50)
        same = found == expected.astype(found.dtype)
        assert same.mean() > 0.999, same.mean()
        assert np.abs(share.astype(int) - expected_share)[same].max() <= 1
"""
COMPILE = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from lemore_core.inference.gpu.decode_kernel import BLOCK, decode_kernel
numbers = dict.fromkeys(('height', 'width', 'rows', 'columns', 'classes'), 'i32')
for labels in ('*u8', '*i16'):
    pointers = {'logits': '*fp16', 'totals': '*fp32', 'labels': labels, 'confidence': '*u8'}
    signature = {**pointers, **numbers, 'BLOCK': 'constexpr'}
    source = ASTSource(fn=decode_kernel, signature=signature, constexprs={'BLOCK': BLOCK})
    for capability in (87, 89, 90):
        assert compile(source, target=GPUTarget('cuda', capability, 32)).asm['cubin']
"""


@pytest.mark.parametrize(('code', 'interpreted'), [(KERNEL, '1'), (COMPILE, '0')])
def test_the_kernel_is_right_in_the_interpreter_and_compiles(
    tmp_path: Path, code: str, interpreted: str
) -> None:
    pytest.importorskip('triton', reason='pip install triton')
    np.save(tmp_path / 'logits.npy', smooth(2, 5, 7, 300))
    subprocess.run(
        [sys.executable, '-c', code, str(tmp_path / 'logits.npy')],
        env={**os.environ, 'TRITON_INTERPRET': interpreted, 'PYTHONPATH': str(ROOT)},
        check=True,
    )
