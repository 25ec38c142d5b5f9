from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from lemore_core.checkpoint import CheckpointError, read_card
from lemore_core.export import cache as export_cache
from lemore_core.export.cache import MOST_KEPT, cached_export, export_apart
from lemore_core.export.errors import ExportError


class Exports:
    """Stands in for what takes seconds, and counts."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int, int]] = []

    def __call__(self, path: Path, height: int, width: int, *, half: bool) -> bytes:
        if height == 8:
            msg = 'height is 8'
            raise ExportError(msg)
        self.made.append((path.read_text(), height, width))
        return f'{path.read_text()} {height} {width}{" half" * half}'.encode()


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> Exports:
    made = Exports()
    monkeypatch.setattr(export_cache, '_export', made)
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


def test_an_export_is_made_once(cache: Path, weights: Path, exports: Exports) -> None:
    for _ in range(3):
        assert cached_export(weights, 96, 128) == b'one 96 128'
    assert exports.made == [('one', 96, 128)]
    assert cache.stat().st_mode & 0o077 == 0


def test_other_weights_sizes_packages_and_sources_are_other_exports(
    cache: Path, weights: Path, exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_export(weights, 96, 128)
    cached_export(weights, 96, 96)
    cached_export(weights, 128, 96)
    assert cached_export(weights, 96, 128, half=True) == b'one 96 128 half'
    weights.write_text('two')
    assert cached_export(weights, 96, 128) == b'two 96 128'
    assert len(exports.made) == 5
    monkeypatch.setattr(export_cache, 'version', lambda name: f'{name} next')
    cached_export(weights, 96, 128)
    assert len(exports.made) == 6
    package = tmp_path / 'lemore_core'
    shutil.copytree(Path(export_cache.__file__).parents[1], package)
    monkeypatch.setattr(export_cache.lemore_core, '__file__', str(package / '__init__.py'))
    cached_export(weights, 96, 128)
    assert len(exports.made) == 6
    for count, name in enumerate(('checkpoint', 'model/layers', 'export/fold'), 7):
        with (package / f'{name}.py').open('a') as source:
            source.write('# changed')
        cached_export(weights, 96, 128)
        assert len(exports.made) == count
        assert len(list(cache.iterdir())) == count


@pytest.mark.parametrize('damage', [b'', b'short', None])
def test_what_is_damaged_is_made_again(
    cache: Path, weights: Path, exports: Exports, damage: bytes | None
) -> None:
    cached_export(weights, 96, 128)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b'x' if damage is None else damage)
    assert cached_export(weights, 96, 128) == b'one 96 128'
    assert len(exports.made) == 2
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_nothing_more(
    cache: Path, weights: Path, exports: Exports
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text('in the way')
    for _ in range(2):
        assert cached_export(weights, 96, 128) == b'one 96 128'
    assert len(exports.made) == 2


@pytest.mark.usefixtures('exports')
def test_a_user_without_a_home_has_no_cache(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        msg = 'Could not determine home directory.'
        raise RuntimeError(msg)

    monkeypatch.setattr(export_cache, 'user_cache', nowhere)
    assert cached_export(weights, 96, 128) == b'one 96 128'


@pytest.mark.usefixtures('exports')
def test_a_failing_export_leaves_nothing(cache: Path, weights: Path) -> None:
    with pytest.raises(ExportError, match='height is 8'):
        cached_export(weights, 8, 128)
    assert not cache.exists()


def test_only_the_last_used_stay(cache: Path, weights: Path, exports: Exports) -> None:
    for width in range(MOST_KEPT + 3):
        cached_export(weights, 96, width)
    assert len(list(cache.iterdir())) == MOST_KEPT
    cached_export(weights, 96, MOST_KEPT + 2)
    assert len(exports.made) == MOST_KEPT + 3
    cached_export(weights, 96, 0)
    assert len(exports.made) == MOST_KEPT + 4


def test_what_fails_in_the_exporting_process_is_raised_in_this_one(
    untrained_checkpoint: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / 'damaged.safetensors'
    tensors = load_file(untrained_checkpoint)
    name, _ = tensors.popitem()
    save_file(tensors, damaged, metadata=read_card(untrained_checkpoint).to_metadata())
    with pytest.raises(CheckpointError, match=rf'tensor {re.escape(name)} is missing'):
        export_apart(damaged, 96, 128, half=False)
