"""The Triton kernels without a GPU: interpreted, and compiled for GPUs that are elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('triton', reason='pip install triton')

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
INT, FLOAT, BYTE = '*i32', '*fp32', '*u8'


@pytest.mark.parametrize('name', ['test_resize.py', 'test_decode.py'])
def test_interpreted_kernels_pass_the_tests_of_the_plain_ones(name: str) -> None:
    # Triton looks at the variable when it is imported: only another process can have it
    environment = {**os.environ, 'TRITON_INTERPRET': '1', 'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1'}
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(HERE / name)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize('capability', [75, 87, 90, 120])
def test_kernels_compile(capability: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from lemore_core.inference.gpu import decode_triton as device_decode_kernel
    from lemore_core.inference.gpu import resize_triton as device_resize_kernel
    from lemore_core.inference.gpu import triton_jit

    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    summary, decoding = {'peak': FLOAT, 'scale': FLOAT}, {'confidence': BYTE}
    for axis in ('row', 'column'):
        decoding |= {f'{axis}_first': INT, f'{axis}_second': INT, f'{axis}_weight': FLOAT}
    taps = {'channels': 4, 'row_taps': 3, 'column_taps': 4, 'red': 2, 'green': 1, 'blue': 0}
    resizing = {'pixels': BYTE, 'result': BYTE, 'row_index': INT, 'column_index': INT}
    resizing |= {'factor': 'fp32'}
    kernels: list[tuple[object, dict[str, str], dict[str, object]]] = [
        (triton_jit.add_one, {'number': FLOAT}, {})
    ]
    for logits in ('*fp16', FLOAT):
        given = {'logits': logits, **summary}
        kernels.append((device_decode_kernel._summary_kernel, given, {'block': 128}))
        kernels += [
            (
                device_decode_kernel._decode_kernel,
                {**given, **decoding, 'labels': labels},
                {'block': 128, 'together': 8},
            )
            for labels in (BYTE, '*i16')
        ]
    for bilinear, weight in ((True, INT), (False, FLOAT)):
        given = {**resizing, 'row_weight': weight, 'column_weight': weight}
        constants = {**taps, 'bilinear': bilinear, 'half_up': False, 'block': 128}
        kernels.append((device_resize_kernel._resize_kernel, given, constants))
    for kernel, types, constants in kernels:
        signature = {
            name: 'constexpr' if name in constants else types.get(name, 'i32')
            for name in kernel.arg_names  # type: ignore[attr-defined]
        }
        source = ASTSource(kernel, signature, constexprs=constants)
        compiled = triton.compile(source, target=GPUTarget('cuda', capability, 32))
        assert compiled.asm['cubin']
