from __future__ import annotations

import gc
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lemore_core.common.errors import in_one_line
from lemore_core.images.image import Image
from lemore_ros.node.camera import Arrival
from lemore_ros.node.worker import HungError, Worker

WAIT_S = 60
PARAMETERS = SimpleNamespace(hang_timeout_s=0.0)
SETTINGS: Any = SimpleNamespace(refinement='refined', parameters=PARAMETERS)


class Camera:
    """It remembers its results, or cannot publish; messages are images already, or unreadable."""

    def __init__(self, *, is_broken: bool = False) -> None:
        self.counts: list[str] = []
        self.stats = SimpleNamespace(count=self.counts.append)
        self.results: list[Any] = []
        self.failures: list[str] = []
        self.done = threading.Event()
        self._is_broken = is_broken

    def decode(self, message: Any, _reader: Any) -> Image | None:
        if message is None:
            self.failures.append('unreadable')
        return message

    def publish(self, image: Image, result: Any, _settings: Any) -> None:
        if self._is_broken:
            msg = 'the topic is gone'
            raise RuntimeError(msg)
        self.results.append((threading.get_ident(), image.header, result))
        self.done.set()

    def fail(self, error: Exception) -> None:
        self.failures.append(in_one_line(error))
        self.done.set()


class Segmenter:
    """It answers with the number of images that it was given together, and how they are refined."""

    def __init__(self, batch: int = 1) -> None:
        self.status = SimpleNamespace(batch=batch)
        self.begun, self.release = threading.Event(), threading.Event()
        self.release.set()

    def segment_batch(self, images: list[Image], refinement: Any) -> list[Any]:
        self.begun.set()
        assert self.release.wait(WAIT_S)
        return [(len(images), refinement)] * len(images)


def never(_: Exception) -> None:
    pytest.fail('the GPU is not lost')


def arrival(camera: Any, header: object = None, *, is_video: bool = False) -> Arrival:
    image, reader = Image(np.zeros((2, 2, 3), np.uint8), 'rgb8', header), Any
    return Arrival(camera, None, reader, image) if is_video else Arrival(camera, image, reader)


def test_as_many_as_the_backend_takes_are_segmented_together() -> None:
    camera, worker = Camera(), Worker(Segmenter(batch=2), SETTINGS, never)
    worker.mailbox.put(Arrival(camera, None, Any), 'unreadable')
    for name in ('front', 'left', 'rear'):
        worker.mailbox.put(arrival(camera, name, is_video=name == 'left'), name)
    worker.start(None, {})
    while len(camera.results) < 3:
        assert camera.done.wait(WAIT_S)
        camera.done.clear()
    worker.close()
    assert [result[1:] for result in camera.results] == [
        ('front', (1, 'refined')),
        ('left', (2, 'refined')),
        ('rear', (2, 'refined')),
    ]
    assert camera.results[0][0] != threading.get_ident()
    assert (camera.counts, camera.failures) == (['accepted'] * 3, ['unreadable'])


def test_one_that_fails_costs_the_others_nothing() -> None:
    class Picky(Segmenter):
        def segment_batch(self, images: list[Image], refinement: Any) -> list[Any]:
            batches.append(len(images))
            if 'bad' in [image.header for image in images]:
                msg = 'full'
                raise MemoryError(msg)
            return super().segment_batch(images, refinement)

    batches: list[int] = []
    broken, bad, good = Camera(is_broken=True), Camera(), Camera()
    worker = Worker(Picky(batch=3), SETTINGS, never)
    for name, camera in {'broken': broken, 'bad': bad, 'good': good}.items():
        worker.mailbox.put(arrival(camera, name), name)
    worker.start(None, {})
    assert good.done.wait(WAIT_S)
    worker.close()
    assert batches == [3, 1, 1, 1]
    assert broken.failures == ['RuntimeError: the topic is gone']
    assert bad.failures == ['MemoryError: full']
    assert [header for _, header, _ in good.results] == ['good']


def test_closing_waits_for_the_image_in_hand_and_drops_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    camera, segmenter = Camera(), Segmenter()
    segmenter.release.clear()
    worker = Worker(segmenter, SETTINGS, never)
    worker.start(None, {})
    worker.mailbox.put(arrival(camera, 1))
    assert segmenter.begun.wait(WAIT_S)
    worker.mailbox.put(arrival(camera, 2))
    monkeypatch.setattr(PARAMETERS, 'hang_timeout_s', 0.01)
    with pytest.raises(HungError, match=r'has not answered for 0\.01 s'):
        worker.close()
    monkeypatch.undo()
    assert [worker.run_watchdog() for _ in range(3)] == [0, 1, 2]
    segmenter.release.set()
    worker.close()
    assert [worker.run_watchdog() for _ in range(2)] == [0, 0]
    assert [header for _, header, _ in camera.results] == [1]


def test_a_published_image_is_released() -> None:
    class Header:
        pass

    class Forgetful(Camera):
        def publish(self, *_: Any) -> None:
            self.done.set()

    header, gone, camera = Header(), threading.Event(), Forgetful()
    weakref.finalize(header, gone.set)
    worker = Worker(Segmenter(), SETTINGS, never)
    worker.start(None, {})
    worker.mailbox.put(arrival(camera, header))
    del header
    assert camera.done.wait(WAIT_S)
    gc.collect()
    assert gone.wait(WAIT_S), 'the worker still holds it while it waits for the next'
    worker.close()
