from __future__ import annotations

import os
import time
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from lemore_core.cli.main import main
from lemore_core.export.export import export_onnx
from lemore_core.inference.tensorrt.engine_cache import EngineCache
from lemore_core.inference.tensorrt.libraries import installed_libraries

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return tmp_path / 'lemore' / 'engines'


def test_an_engine_is_built_listed_and_deleted(
    untrained_checkpoint: Path, folder: Path, tmp_path: Path, capsys: Output
) -> None:
    tensorrt = pytest.importorskip('tensorrt_rtx', reason='pip install tensorrt-rtx-cu13')
    model = tmp_path / 'model.onnx'
    model.write_bytes(export_onnx(untrained_checkpoint, 64, 128))
    build = ['engine', 'build', '--model', str(model), '--batch', '2']
    capability = ['--compute-capability', '8.6']
    assert main([*build, *capability]) == 0
    (path,) = folder.glob('*.engine')
    what = f'128x64 x 2, as exported, compute capability 8.6, tensorrt_rtx {tensorrt.__version__}'
    mib = f'{path.stat().st_size / 2**20:.1f} MiB'
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f'{path}: built in ')
    assert second == f'{what}, {mib}'

    assert main([*build, *capability]) == 0
    assert capsys.readouterr().out.startswith(f'{path}: there already\n')

    assert main(['engine', 'list']) == 0
    listed, total = capsys.readouterr().out.splitlines()
    assert listed.startswith(f'{path.name[:12]}  {what}, {mib}, built in ')
    assert total == f'1 engine, {mib}, in {folder}'

    for options in ([], ['--older-than', '1']):
        assert main(['engine', 'prune', *options]) == 0
        assert capsys.readouterr().out == '0 engines deleted, 0.0 MiB freed\n'
    then = time.time() - 2 * 86400
    os.utime(path.with_suffix('.json'), (then, then))
    assert main(['engine', 'prune', '--older-than', '1']) == 0
    assert capsys.readouterr().out == f'1 engine deleted, {mib} freed\n'
    assert [path.name for path in folder.iterdir()] == ['build.lock']


def test_all_engines_are_deleted(folder: Path, capsys: Output) -> None:
    folder.mkdir(parents=True)
    (folder / 'damaged.engine').write_bytes(b'')
    assert main(['engine', 'prune', '--all']) == 0
    assert capsys.readouterr().out == '1 engine deleted, 0.0 MiB freed\n'
    assert EngineCache().folder == folder
    assert [path.name for path in folder.iterdir()] == ['build.lock']


def test_an_engine_that_cannot_be_kept_is_a_failure(
    untrained_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    pytest.importorskip('tensorrt_rtx', reason='pip install tensorrt-rtx-cu13')
    model = tmp_path / 'model.onnx'
    model.write_bytes(export_onnx(untrained_checkpoint, 64, 64))
    (tmp_path / 'file').write_bytes(b'')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    assert main(['engine', 'build', '--model', str(model), '--compute-capability', '8.6']) == 1
    assert 'was built but cannot be kept in' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--precision', 'int8'], "precision is 'int8', it must be one of auto, fp32, fp16"),
        (['--compute-capability', '9.0'], '7.5, 8.0, 8.6, 8.9, 12.0, 12.1, not 9.0'),
        (['--compute-capability', 'ampere'], "'ampere' is no compute capability"),
        (['--compute-capability', '8.6', '--device', 'cuda:0'], 'give one of them'),
        (['--compute-capability', '7.5', '--precision', 'fp32'], 'use precision fp16'),
        (['--device', 'cpu'], "not on device 'cpu'"),
        (['--height', '64'], 'give both or neither'),
        (['--batch', '0'], 'batch is 0'),
        (['--model', 'huge'], "no model is called 'huge'"),
        (['--model', 'gone.safetensors'], 'there is no checkpoint gone.safetensors'),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], message: str, capsys: Output
) -> None:
    pytest.importorskip('tensorrt_rtx', reason='pip install tensorrt-rtx-cu13')
    assert main(['engine', 'build', *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith('lemore engine: ')
    assert error.count('\n') == 1


def test_an_onnx_file_of_something_else_is_named(tmp_path: Path, capsys: Output) -> None:
    node = helper.make_node('Identity', ['x'], ['y'])
    edges = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, [1])] for n in ('x', 'y')]
    model = helper.make_model(
        helper.make_graph([node], 'other', *edges),
        opset_imports=[helper.make_opsetid('', 17)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / 'other.onnx')
    assert main(['engine', 'build', '--model', str(tmp_path / 'other.onnx')]) == 1
    assert (
        'other.onnx does not describe itself: write a file that does, with lemore import'
        in capsys.readouterr().err
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_without_a_gpu_the_way_out_is_named(untrained_checkpoint: Path, capsys: Output) -> None:
    assert main(['engine', 'build', '--model', str(untrained_checkpoint)]) == 1
    assert 'build ahead for a GPU elsewhere: --compute-capability' in capsys.readouterr().err


def test_without_tensorrt_the_package_is_named(
    untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr('importlib.util.find_spec', lambda _: None)
    arguments = ['--model', str(untrained_checkpoint), '--compute-capability', '8.6']
    assert main(['engine', 'build', *arguments]) == 1
    assert 'pip install tensorrt-rtx-cu13' in capsys.readouterr().err
    assert installed_libraries() == ()
    assert main(['engine', 'prune']) == 1
    assert 'give --all or --older-than' in capsys.readouterr().err
