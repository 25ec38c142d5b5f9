"""Exports and engines on disk."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import onnx
import pytest
from safetensors.numpy import load_file, save_file

from lemore_core.checkpoint import CheckpointError, read_card
from lemore_core.export import ExportError, onnx_file
from lemore_core.export.export import check_export, street_images, trace_onnx
from lemore_core.export.fold import load_graph
from lemore_core.export.onnx_file import (
    MOST_KEPT,
    cached_export,
    export_apart,
    keep,
    read_kept,
    read_shipped,
)

CONTENT = bytes(range(256)) * 40
WEIGHTS = Path(onnx_file.__file__).parents[1] / 'weights'
STALE = 'weights or graph changed: run make exports'


class Exports:
    """Stands in for what takes seconds, and counts."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, path: Path, height: int, width: int, *, half: bool) -> bytes:
        if height == 8:
            msg = 'height is 8'
            raise ExportError(msg)
        self.made += 1
        return f'{path.read_text()} {height} {width}{" half" * half}'.encode()


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> Exports:
    made = Exports()
    monkeypatch.setattr('lemore_core.export.export.export_onnx', made)
    return made


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'lemore' / 'exports'


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / 'weights'
    path.write_text('one')
    return path


def test_other_weights_sizes_packages_and_sources_are_other_exports(
    cache: Path, weights: Path, exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert cached_export(weights, 96, 128) == b'one 96 128'
        assert cached_export(weights, 96, 96) == b'one 96 96'
        assert cached_export(weights, 128, 96) == b'one 128 96'
        assert cached_export(weights, 96, 128, half=True) == b'one 96 128 half'
    assert exports.made == 4
    assert cache.stat().st_mode & 0o077 == 0
    weights.write_text('two')
    assert cached_export(weights, 96, 128) == b'two 96 128'
    monkeypatch.setattr(onnx_file, 'version', lambda name: f'{name} next')
    cached_export(weights, 96, 128)
    package = tmp_path / 'lemore_core'
    shutil.copytree(Path(onnx_file.__file__).parents[1], package)
    monkeypatch.setattr(onnx_file.lemore_core, '__file__', str(package / '__init__.py'))
    cached_export(weights, 96, 128)
    assert exports.made == 6
    for count, name in enumerate(('checkpoint', 'model/layers', 'export/fold'), 7):
        with (package / f'{name}.py').open('a') as source:
            source.write('# changed')
        cached_export(weights, 96, 128)
        assert exports.made == len(list(cache.iterdir())) == count


@pytest.mark.parametrize('obstacle', ['a file', 'no home'])
def test_without_a_folder_every_start_exports(
    cache: Path, weights: Path, exports: Exports, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text('in the way')
    if obstacle == 'no home':
        monkeypatch.delenv('XDG_CACHE_HOME')
        monkeypatch.setattr(Path, 'home', lambda: Path('~no such user').expanduser())
    for _ in range(2):
        assert cached_export(weights, 96, 128) == b'one 96 128'
    assert exports.made == 2


@pytest.mark.usefixtures('exports')
def test_a_failing_export_leaves_nothing(cache: Path, weights: Path) -> None:
    with pytest.raises(ExportError, match='height is 8'):
        cached_export(weights, 8, 128)
    assert not cache.exists()


@pytest.mark.parametrize('damage', ['missing', 'short', 'one bit', 'empty', 'others may write'])
def test_a_damaged_or_foreign_file_is_not_read(tmp_path: Path, damage: str) -> None:
    file = tmp_path / 'private' / 'a.engine'
    keep(file, CONTENT)
    assert read_kept(file, 2 * len(CONTENT)) == CONTENT
    assert read_kept(file, 9) is None, 'larger than allowed'
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= damage == 'one bit'
    file.write_bytes(content[: {'short': -1, 'empty': 0}.get(damage)])
    file.chmod(0o602 if damage == 'others may write' else 0o600)
    if damage == 'missing':
        file.unlink()
    assert read_kept(file, 2 * len(CONTENT)) is None
    keep(file, CONTENT)
    assert read_kept(file, 2 * len(CONTENT)) == CONTENT


def test_only_the_last_used_of_a_kind_stay(tmp_path: Path) -> None:
    folder = tmp_path / 'private'
    files = [folder / f'{number}.engine' for number in range(MOST_KEPT + 1)]
    keep(folder / 'another.onnx', CONTENT)
    for number, file in enumerate(files[:-1]):
        keep(file, CONTENT)
        os.utime(file, (number, number))
    assert read_kept(files[0], 2 * len(CONTENT)) == CONTENT
    keep(files[-1], CONTENT)
    assert [file.is_file() for file in files[:3]] == [True, False, True]
    assert len(list(folder.iterdir())) == MOST_KEPT + 1


def test_an_error_of_the_exporting_process_is_raised_in_this_one(
    untrained_checkpoint: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / 'damaged.safetensors'
    tensors = load_file(untrained_checkpoint)
    name, _ = tensors.popitem()
    save_file(tensors, damaged, metadata=read_card(untrained_checkpoint).to_metadata())
    with pytest.raises(CheckpointError, match=rf'tensor {re.escape(name)} is missing'):
        export_apart(damaged, 96, 128, half=False)


@pytest.mark.parametrize(
    'model', ['nano_camvid', 'tiny_camvid', 'nano_cityscapes', 'tiny_cityscapes']
)
def test_what_is_shipped_is_of_its_checkpoint_and_serves_without_an_export(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = WEIGHTS / f'lemore_{model}.safetensors'
    config = read_card(checkpoint).config
    shipped = read_shipped(checkpoint, config.height, config.width)
    assert shipped, STALE
    monkeypatch.setattr(onnx_file, '_export', lambda *_, **__: b'exported')
    monkeypatch.setattr(onnx_file, 'user_cache', lambda: tmp_path / 'cache')
    assert cached_export(checkpoint, config.height, config.width) == shipped
    assert cached_export(checkpoint, config.height, config.width, half=True) == b'exported'
    assert cached_export(checkpoint, config.height, config.width + 64) == b'exported'

    for path in WEIGHTS.glob(f'{checkpoint.stem}*'):
        shutil.copy(path, tmp_path)
    copied = tmp_path / checkpoint.name
    assert read_shipped(copied, config.height, config.width) == shipped
    with copied.open('ab') as file:
        file.write(b' ')
    assert read_shipped(copied, config.height, config.width) is None


def test_what_is_shipped_is_the_graph_of_today() -> None:
    checkpoint = WEIGHTS / 'lemore_nano_camvid.safetensors'
    size = read_card(checkpoint).config.height, read_card(checkpoint).config.width
    content = read_shipped(checkpoint, *size)
    assert content, STALE
    graph = load_graph(checkpoint, *size)
    shipped, traced = onnx.load_from_string(content), trace_onnx(graph, *size)
    found, expected = ([node.op_type for node in m.graph.node] for m in (shipped, traced))
    assert found == expected, STALE
    check_export(graph, content, street_images(*size))
