"""Sizes loaded at once, or beside the ones in use."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lemore_core.common.errors import LemoreError
from lemore_core.inference.sizes import LoadedSizes, Size, network_size
from lemore_core.segmenter import Segmenter
from test.waiting import wait_for

LOADED, WIDE, TALL = (96, 128), (64, 192), (192, 64)


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


def test_a_loaded_size_serves_until_the_missing_one_is_there(
    sizes: LoadedSizes, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level('INFO')
    assert sizes.nearest(WIDE) == (LOADED, 'loading')
    assert sizes.nearest(TALL) == (LOADED, 'waiting for another size')
    assert sizes.nearest(LOADED) == (LOADED, '')
    loader.gate.set()
    wait_for(lambda: sizes.nearest(WIDE) == (WIDE, ''))
    assert sizes.nearest((64, 256))[0] == WIDE, 'the nearest aspect'
    wait_for(lambda: sizes.nearest(TALL) == (TALL, ''))
    ready = [f'network {size} is ready' for size in ('192x64', '256x64', '64x192')]
    assert caplog.messages == ready


def test_the_size_used_longest_ago_makes_room(sizes: LoadedSizes, loader: Loader) -> None:
    loader.gate.set()
    sizes.kept = 2
    sizes.get(WIDE)
    sizes.get(LOADED)
    sizes.get(TALL)
    assert loader.loaded[WIDE].is_closed
    assert not loader.loaded[LOADED].is_closed
    wait_for(lambda: sizes.nearest(WIDE) == (WIDE, ''))
    assert loader.loaded[LOADED].is_closed


def test_the_memory_of_one_that_made_room_is_returned(run_python: Any) -> None:
    # in a process of its own, whose memory nothing else moves; blocks between others that are used
    code = """
from lemore_core.common.memory import process_memory
from lemore_core.inference.sizes import LoadedSizes

class Backend:
    def __init__(self, size):
        self.held = [bytearray(b'x' * 100_000) for _ in range(600)]
    def close(self):
        self.held.clear()

sizes = LoadedSizes(Backend)
sizes.kept = 1
for width in (64, 128, 192):
    sizes.get((64, width))
    print(process_memory().resident_mb)
"""
    first, *later = map(float, run_python('-c', code).split())
    assert max(later) - first < 20


def test_one_that_cannot_be_loaded_is_tried_once(
    sizes: LoadedSizes, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    loader.failure = 'no room'
    loader.gate.set()
    wait_for(lambda: sizes.nearest(WIDE) == (LOADED, 'no room'))
    sizes.nearest(WIDE)
    assert loader.asked == [LOADED, WIDE]
    assert caplog.messages == ['network 192x64 cannot be loaded: no room']


def test_closing_ends_an_export_at_once(
    untrained_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    segmenter = Segmenter.load(untrained_checkpoint, backend='onnxruntime', live=True)
    result = segmenter.segment(np.zeros((64, 192, 3), np.uint8))
    assert result.resized == 'preparing 192x64'
    assert result.network_size == (96, 128)
    wait_for(lambda: any(tmp_path.glob('lemore-export-*')))
    started = time.monotonic()
    segmenter.close()
    assert time.monotonic() - started < 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('trained', 'image', 'expected'),
    [
        ((360, 480), (360, 480), (360, 480)),  # as trained
        ((360, 480), (480, 640), (360, 480)),  # the same aspect
        ((224, 320), (227, 320), (224, 320)),  # nearly
        ((360, 480), (227, 320), (352, 480)),
        ((360, 480), (1080, 1920), (320, 576)),
        ((360, 480), (1920, 1080), (576, 320)),
        ((360, 480), (480, 480), (416, 416)),
        ((360, 480), (1024, 2048), (288, 576)),
        ((360, 480), (375, 1242), (224, 736)),
        ((360, 480), (1, 4000), (32, 2048)),
    ],
)
def test_an_image_keeps_its_aspect(trained: Size, image: Size, expected: Size) -> None:
    assert network_size(trained, image) == expected


def test_no_image_is_stretched_by_more_than_a_few_percent() -> None:
    for aspect in np.geomspace(0.5, 4, 200):
        height, width = network_size((360, 480), (1000, round(1000 * aspect)))
        assert abs(np.log(width / height / aspect)) < 0.046
        assert abs(np.log(width * height / 480 / 360)) < 0.2
