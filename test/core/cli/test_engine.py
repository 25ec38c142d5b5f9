from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lemore_core.cli.main import main
from lemore_core.inference.backend import ServingRequest
from lemore_core.inference.gpu.device import Gpu
from lemore_core.inference.tensorrt import cache

Output = pytest.CaptureFixture[str]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a GPU and TensorRT be here."""
    monkeypatch.setattr(cache, 'load_tensorrt', lambda: SimpleNamespace(__version__='11.4.0'))
    found = Gpu('cuda:0', 'NVIDIA RTX A2000 (26 SMs)', '8.6', '580.65')
    monkeypatch.setattr(cache, 'find_gpu', lambda _: found)


@pytest.mark.usefixtures('gpu')
def test_an_engine_that_is_there_is_named(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    cache.locate_engine(ServingRequest(exported, 96, 128, batch=2)).keep(bytes(3 << 20))
    assert main(['engine', 'build', '--model', str(exported), '--batch', '2']) == 0
    (path,) = (tmp_path / 'lemore' / 'engines').glob('*.engine')
    assert capsys.readouterr().out.splitlines() == [
        f'{path}: there already',
        '128x96 x 2, as exported, NVIDIA RTX A2000 (26 SMs), 3.0 MiB',
    ]


def test_without_tensorrt_the_package_is_named(
    untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    assert main(['engine', 'build', '--model', str(untrained_checkpoint)]) == 1
    assert 'pip install tensorrt' in capsys.readouterr().err
