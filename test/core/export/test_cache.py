from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lemore_core.export import cache as export_cache
from lemore_core.export.cache import MOST_KEPT, cached_export
from lemore_core.export.errors import ExportError

Export = Callable[[Path, int, int], bytes]


class Exports:
    """Stands in for what takes seconds, and counts."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int, int]] = []

    def __call__(self, path: Path, height: int, width: int) -> bytes:
        self.made.append((path.read_text(), height, width))
        return f'{path.read_text()} {height} {width}'.encode()


@pytest.fixture
def exports() -> Exports:
    return Exports()


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
        assert cached_export(weights, 96, 128, exports) == b'one 96 128'
    assert exports.made == [('one', 96, 128)]
    assert cache.stat().st_mode & 0o077 == 0


def test_other_weights_sizes_packages_and_sources_are_other_exports(
    cache: Path, weights: Path, exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_export(weights, 96, 128, exports)
    cached_export(weights, 128, 96, exports)
    weights.write_text('two')
    assert cached_export(weights, 96, 128, exports) == b'two 96 128'
    assert len(exports.made) == 3
    monkeypatch.setattr(export_cache, 'version', lambda name: f'{name} next')
    cached_export(weights, 96, 128, exports)
    assert len(exports.made) == 4
    package = tmp_path / 'lemore_core'
    shutil.copytree(Path(export_cache.__file__).parents[1], package)
    monkeypatch.setattr(export_cache.lemore_core, '__file__', str(package / '__init__.py'))
    cached_export(weights, 96, 128, exports)
    assert len(exports.made) == 4
    for count, name in enumerate(('checkpoint', 'model/layers', 'export/fold'), 5):
        with (package / f'{name}.py').open('a') as source:
            source.write('# changed')
        cached_export(weights, 96, 128, exports)
        assert len(exports.made) == count
        assert len(list(cache.iterdir())) == count


@pytest.mark.parametrize('damage', [b'', b'short', None])
def test_what_is_damaged_is_made_again(
    cache: Path, weights: Path, exports: Exports, damage: bytes | None
) -> None:
    cached_export(weights, 96, 128, exports)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b'x' if damage is None else damage)
    assert cached_export(weights, 96, 128, exports) == b'one 96 128'
    assert len(exports.made) == 2
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_nothing_more(
    cache: Path, weights: Path, exports: Exports
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text('in the way')
    for _ in range(2):
        assert cached_export(weights, 96, 128, exports) == b'one 96 128'
    assert len(exports.made) == 2


def test_a_user_without_a_home_has_no_cache(
    weights: Path, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> Path:
        msg = 'Could not determine home directory.'
        raise RuntimeError(msg)

    monkeypatch.setattr(export_cache, 'user_cache', nowhere)
    assert cached_export(weights, 96, 128, exports) == b'one 96 128'


def test_a_failing_export_leaves_nothing(cache: Path, weights: Path) -> None:
    def fail(_path: Path, height: int, _width: int) -> bytes:
        msg = f'height is {height}'
        raise ExportError(msg)

    with pytest.raises(ExportError, match='height is 8'):
        cached_export(weights, 8, 128, fail)
    assert not cache.exists()


def test_only_the_last_used_stay(cache: Path, weights: Path, exports: Exports) -> None:
    for width in range(MOST_KEPT + 3):
        cached_export(weights, 96, width, exports)
    assert len(list(cache.iterdir())) == MOST_KEPT
    cached_export(weights, 96, MOST_KEPT + 2, exports)
    assert len(exports.made) == MOST_KEPT + 3
    cached_export(weights, 96, 0, exports)
    assert len(exports.made) == MOST_KEPT + 4
