"""Decoding on a device against upsampling in double precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lemore_core.inference.gpu import decode as decode_module
from lemore_core.inference.gpu.decode import decode, decode_plainly

CUDA = torch.cuda.is_available()
MARGIN = 1e-3


def random(*shape: int, is_smooth: bool = False) -> Tensor:
    """Return logits (N, h, w, classes), smooth ones with regions as a network has."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if is_smooth:
        planes = functional.avg_pool2d(values.permute(0, 3, 1, 2), 5, 1, 2) * 5
        values = planes.permute(0, 2, 3, 1).contiguous()
    return values


def decoded(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    count, classes, device = len(logits), logits.shape[-1], logits.device
    kind = torch.uint8 if classes <= 255 else torch.int16
    labels = torch.zeros(count, *size, dtype=kind, device=device)
    confidence = torch.zeros(count, *size, dtype=torch.uint8, device=device)
    finite = torch.zeros(count, dtype=torch.bool, device=device)
    decode(logits, labels, confidence, finite)
    return labels.long() & 0xFFFF, confidence, finite


def check(logits: Tensor, size: tuple[int, int]) -> None:
    """Compare labels wherever the best two classes are apart, and confidence everywhere."""
    ids, confidence, finite = decoded(logits, size)
    assert finite.all()
    values = logits.double()
    full, shares = (
        functional.interpolate(maps.permute(0, 3, 1, 2), size, mode='bilinear', align_corners=False)
        for maps in (values, values.softmax(-1))
    )
    best = full.topk(min(2, full.shape[1]), dim=1).values
    clear = (best[:, 0] - best[:, -1] > MARGIN) | (full.shape[1] == 1)
    assert torch.equal(ids[clear], full.argmax(1)[clear])
    assert (best[:, 0] - full.gather(1, ids[:, None])[:, 0]).max() <= MARGIN
    share = shares.gather(1, ids[:, None])[:, 0]
    assert (confidence.double() - 255 * share).abs().max() <= 0.52


@pytest.mark.parametrize('kind', [torch.float32, torch.float16])
@pytest.mark.parametrize('classes', [1, 2, 11, 150, 255, 256, 300])
@pytest.mark.parametrize('is_smooth', [False, True])
def test_classes(device: torch.device, classes: int, is_smooth: bool, kind: torch.dtype) -> None:
    low, high = ((40, 44), (333, 517)) if CUDA else ((6, 5), (40, 37))
    check(random(2, *low, classes, is_smooth=is_smooth).to(device, kind), high)


@pytest.mark.parametrize(
    ('low', 'high'),
    [
        ((1, 1), (1, 1)),
        ((1, 2), (1, 200)),
        ((2, 1), (200, 1)),
        ((33, 20), (7, 5)),
        ((8, 8), (8, 8)),
        ((13, 3), (29, 38)),
        ((40, 72), (540, 960)),
        ((64, 64), (31, 40)),
    ],
)
def test_sizes(device: torch.device, low: tuple[int, int], high: tuple[int, int]) -> None:
    check(random(1, *low, 12).to(device), high)


def test_any_strides(device: torch.device) -> None:
    values = random(2, 6, 5, 11).permute(0, 3, 1, 2).contiguous().to(device)
    expected = decoded(values.permute(0, 2, 3, 1).contiguous(), (30, 25))
    padded = functional.pad(values, (3, 2, 1, 1))[:, :, 1:-1, 3:-2]
    for logits in (values.permute(0, 2, 3, 1), padded.permute(0, 2, 3, 1)):
        for found, wanted in zip(decoded(logits, (30, 25)), expected, strict=True):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize('held', [1, 32 * 40 * 3, 10**9])
def test_the_lowest_class_wins_a_tie(
    device: torch.device, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(decode_module, 'HELD_NUMBERS', held)
    labels, confidence, _ = decoded(torch.full((1, 4, 5, 4), 7.0, device=device), (32, 40))
    assert not labels.any()
    assert confidence.unique().tolist() == [64]  # 255 / 4 rounded
    check(random(2, 7, 8, 5).to(device), (32, 40))


@pytest.mark.parametrize('values', [(np.nan,), (np.inf,), (-np.inf,), (np.nan, np.inf, -np.inf)])
def test_logits_that_are_not_finite_are_found(
    device: torch.device, values: tuple[float, ...]
) -> None:
    logits = random(3, 6, 7, 5)
    logits[1, 2, 3, : len(values)] = torch.tensor(values)
    labels, _, finite = decoded(logits.to(device), (30, 35))
    assert finite.tolist() == [True, False, True]
    assert labels.max() < 5


def test_ids_beyond_fifteen_bits(device: torch.device) -> None:
    logits = torch.zeros(1, 1, 2, 65535, device=device)
    logits[0, 0, 0, 65534] = logits[0, 0, 1, 256] = 30
    assert decoded(logits, (1, 4))[0].tolist() == [[[65534, 65534, 256, 256]]]


def test_the_kernel_decodes_on_this_gpu(cuda: torch.device) -> None:
    pytest.importorskip('triton', reason='pip install triton')
    from lemore_core.inference.gpu.decode_kernel import decode_fused

    logits = random(2, 64, 64, 150).to(cuda).half()
    found, expected = torch.zeros(2, 2, 2, 512, 512, dtype=torch.uint8, device=cuda)
    decode_fused(logits, *found)
    decode_plainly(logits, *expected)
    assert (found[0] == expected[0]).float().mean() > 0.999


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
numbers = dict.fromkeys(('height', 'width', 'rows', 'columns'), 'i32')
constants = {'classes': 150, 'BLOCK': BLOCK}
for labels in ('*u8', '*i16'):
    pointers = {'logits': '*fp16', 'totals': '*fp32', 'labels': labels, 'confidence': '*u8'}
    signature = {**pointers, **numbers, **dict.fromkeys(constants, 'constexpr')}
    source = ASTSource(fn=decode_kernel, signature=signature, constexprs=constants)
    for capability in (87, 89, 90):
        assert compile(source, target=GPUTarget('cuda', capability, 32)).asm['cubin']
"""


@pytest.mark.parametrize(('code', 'interpreted'), [(KERNEL, '1'), (COMPILE, '0')])
def test_the_kernel_is_right_in_the_interpreter_and_compiles(
    tmp_path: Path, run_python: Any, code: str, interpreted: str
) -> None:
    pytest.importorskip('triton', reason='pip install triton')
    pytest.importorskip('numba', reason='pip install numba')
    np.save(tmp_path / 'logits.npy', random(2, 5, 7, 300, is_smooth=True).numpy())
    run_python('-c', code, tmp_path / 'logits.npy', TRITON_INTERPRET=interpreted)
