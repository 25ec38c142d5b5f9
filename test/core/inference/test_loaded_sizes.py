"""Sizes prepared beside the ones in use: who waits, who is replaced, and what a stop leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lemore_core.common import child as children
from lemore_core.common.child import Child
from lemore_core.common.errors import LemoreError
from lemore_core.inference import loaded_sizes
from lemore_core.inference.loaded_sizes import SEEN, LoadedSizes, Size
from lemore_core.segmenter import Segmenter

LOADED, WIDE, TALL, FLAT = (96, 128), (64, 192), (192, 64), (64, 640)


class FakeBackend:
    def __init__(self, size: Size) -> None:
        self.size = size
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Loader:
    """Loads the first size at once; others wait until they are let through."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked: list[Size] = []
        self.loaded: dict[Size, FakeBackend] = {}
        self.failure = ''

    def __call__(self, size: Size) -> FakeBackend:
        self.asked.append(size)
        if size != LOADED:
            assert self.gate.wait(30)
        if self.failure:
            raise LemoreError(self.failure)
        return self.loaded.setdefault(size, FakeBackend(size))


@pytest.fixture
def loader() -> Iterator[Loader]:
    loader = Loader()
    yield loader
    loader.gate.set()


@pytest.fixture
def sizes(loader: Loader) -> LoadedSizes:
    sizes = LoadedSizes(loader)  # type: ignore[arg-type]
    sizes.get(LOADED)
    return sizes


def see(sizes: LoadedSizes, size: Size, times: int = SEEN) -> Size:
    for _ in range(times):
        sizes.update()
        seen = sizes.nearest(size)
    return seen


def finish(sizes: LoadedSizes) -> None:
    if sizes._preparation is not None:
        sizes._preparation._thread.join(30)
    sizes.update()


def test_what_is_loaded_goes_on_while_a_size_is_prepared(
    sizes: LoadedSizes, loader: Loader
) -> None:
    assert see(sizes, WIDE, SEEN - 1) == LOADED
    assert loader.asked == [LOADED]
    assert sizes.why_missing(WIDE) == 'few images of it came'
    assert see(sizes, WIDE) == LOADED
    assert sizes.why_missing(WIDE) == ''
    assert see(sizes, TALL) == LOADED
    assert sizes.why_missing(TALL) == 'others come first'
    assert sizes.nearest(LOADED) == LOADED
    loader.gate.set()
    finish(sizes)
    assert see(sizes, WIDE, 1) == WIDE
    assert see(sizes, (64, 256), 1) == WIDE, 'the nearest aspect'
    see(sizes, TALL, 1)
    finish(sizes)
    assert see(sizes, TALL, 1) == TALL


def test_an_odd_size_replaces_none_in_use(sizes: LoadedSizes, loader: Loader) -> None:
    loader.gate.set()
    sizes.kept = 2
    see(sizes, WIDE)
    finish(sizes)
    for _ in range(3 * SEEN):
        for size in (LOADED, WIDE, TALL, TALL):
            see(sizes, size, 1)
    assert sizes.why_missing(TALL) == '2 other sizes are in use'
    assert loader.asked == [LOADED, WIDE]
    # the camera of one of them has gone
    for _ in range(SEEN + 1):
        see(sizes, WIDE, 1)
        see(sizes, TALL, 1)
    finish(sizes)
    assert see(sizes, TALL, 1) == TALL
    assert loader.loaded[LOADED].is_closed
    assert not loader.loaded[WIDE].is_closed


def test_one_that_came_into_use_again_stays(sizes: LoadedSizes, loader: Loader) -> None:
    sizes.kept = 1
    see(sizes, WIDE)
    see(sizes, LOADED, 1)
    loader.gate.set()
    finish(sizes)
    assert see(sizes, LOADED, 1) == LOADED
    assert loader.loaded[WIDE].is_closed


def test_one_that_cannot_be_loaded_is_tried_once(
    sizes: LoadedSizes, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    loader.failure = 'no room'
    loader.gate.set()
    see(sizes, WIDE)
    finish(sizes)
    assert see(sizes, WIDE) == LOADED
    assert sizes.why_missing(WIDE) == 'no room'
    assert loader.asked == [LOADED, WIDE]
    assert caplog.messages == ['the network cannot be loaded for 192x64: no room']


def test_closing_lets_go_of_what_is_loaded_after_it(
    sizes: LoadedSizes, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded_sizes, 'JOIN_S', 0.0)
    see(sizes, WIDE)
    preparation = sizes._preparation
    assert preparation is not None
    sizes.close()
    loader.gate.set()
    preparation._thread.join(30)
    assert loader.loaded[LOADED].is_closed
    assert loader.loaded[WIDE].is_closed


def exports() -> list[Child]:
    return [child for child in children._running if not child.ended]


def test_closing_ends_an_export_at_once(
    untrained_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    segmenter = Segmenter.load(untrained_checkpoint, backend='onnxruntime', live=True)
    caplog.clear()
    image = np.zeros((64, 192, 3), np.uint8)
    for _ in range(SEEN):
        result = segmenter.segment(image)
    assert result.resized == 'preparing 192x64'
    assert result.network_size == (96, 128)
    deadline = time.monotonic() + 30
    while not exports():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    segmenter.close()
    assert not exports()
    assert list(tmp_path.iterdir()) == []
    expected = f'exporting {untrained_checkpoint.name} for 192x64, once on this machine'
    assert set(caplog.messages) <= {expected}
