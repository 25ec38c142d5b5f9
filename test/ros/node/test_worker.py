from __future__ import annotations

import gc
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lemore_core.common.errors import GpuContextLostError
from lemore_core.images.image import Image
from lemore_core.mailbox import Mailbox
from lemore_ros.node.camera_input import Arrival
from lemore_ros.node.worker import HungError, Worker

WAIT_S = 10


class Output:
    """Where the labels go: it remembers them, or cannot publish."""

    def __init__(self, *, is_broken: bool = False) -> None:
        self.stats = SimpleNamespace(count=lambda _: None)
        self.results: list[Any] = []
        self.failures: list[str] = []
        self.done = threading.Event()
        self._is_broken = is_broken

    def publish(self, image: Image, result: Any) -> None:
        if self._is_broken:
            msg = 'the topic is gone'
            raise RuntimeError(msg)
        self.results.append((threading.get_ident(), image.header, result))
        self.done.set()

    def fail(self, reason: str) -> None:
        self.failures.append(reason)
        self.done.set()


class Segmenter:
    """It answers with the number of images that it was given together."""

    def __init__(self, batch: int = 1) -> None:
        self.status = SimpleNamespace(batch=batch)
        self.begun, self.release = threading.Event(), threading.Event()
        self.release.set()

    def segment_batch(self, images: list[Image]) -> list[int]:
        self.begun.set()
        assert self.release.wait(WAIT_S)
        return [len(images)] * len(images)


def never(_: Exception) -> None:
    pytest.fail('the GPU is not lost')


def image(header: object = None) -> Image:
    return Image(np.zeros((2, 2, 3), np.uint8), 'rgb8', header)


@pytest.fixture
def mailbox() -> Mailbox[Arrival]:
    return Mailbox()


def test_as_many_as_the_backend_takes_are_segmented_together(mailbox: Mailbox[Any]) -> None:
    output = Output()
    for name in ('front', 'left', 'rear'):
        mailbox.put(Arrival(image(name), output), name)
    output.done.clear()
    worker = Worker(mailbox, Segmenter(batch=2), never)
    worker.start()
    while len(output.results) < 3:
        assert output.done.wait(WAIT_S)
        output.done.clear()
    worker.stop()
    assert [result[1:] for result in output.results] == [('front', 2), ('left', 2), ('rear', 1)]
    assert output.results[0][0] != threading.get_ident()


def test_an_output_that_fails_does_not_end_the_thread(mailbox: Mailbox[Any]) -> None:
    broken, good = Output(is_broken=True), Output()
    worker = Worker(mailbox, Segmenter(), never)
    worker.start()
    mailbox.put(Arrival(image(), broken))
    assert broken.done.wait(WAIT_S)
    mailbox.put(Arrival(image(), good))
    assert good.done.wait(WAIT_S)
    worker.stop()
    assert broken.failures == ['RuntimeError: the topic is gone']


def test_a_lost_gpu_is_nothing_that_another_image_gets_over(mailbox: Mailbox[Any]) -> None:
    class Lost(Segmenter):
        def segment_batch(self, images: list[Image]) -> list[int]:
            calls.append(len(images))
            raise error

    error, calls, left = GpuContextLostError('GPU context lost'), [], threading.Event()
    outputs = [Output(), Output()]
    for name, output in enumerate(outputs):
        mailbox.put(Arrival(image(), output), str(name))

    def leave(found: GpuContextLostError) -> None:
        assert found is error
        left.set()

    worker = Worker(mailbox, Lost(batch=2), leave)
    worker.start()
    assert left.wait(WAIT_S)
    worker.stop()
    assert calls == [2]
    assert not outputs[0].failures


def test_stopping_waits_for_the_image_in_hand_and_drops_the_next(mailbox: Mailbox[Any]) -> None:
    output, segmenter = Output(), Segmenter()
    segmenter.release.clear()
    worker = Worker(mailbox, segmenter, never)
    worker.start()
    mailbox.put(Arrival(image(1), output))
    assert segmenter.begun.wait(WAIT_S)
    mailbox.put(Arrival(image(2), output))
    threading.Timer(0.05, segmenter.release.set).start()
    worker.stop()
    assert [header for _, header, _ in output.results] == [1]


def test_stopping_waits_no_longer_than_a_network_may_take(mailbox: Mailbox[Any]) -> None:
    segmenter = Segmenter()
    segmenter.release.clear()
    worker = Worker(mailbox, segmenter, never)
    worker.start()
    mailbox.put(Arrival(image(), Output()))
    assert segmenter.begun.wait(WAIT_S)
    with pytest.raises(HungError, match=r'has not answered for 0\.01 s'):
        worker.stop(0.01)
    assert [worker.count_stuck_checks() for _ in range(3)] == [0, 1, 2]
    segmenter.release.set()
    worker.stop()
    assert [worker.count_stuck_checks() for _ in range(2)] == [0, 0]


def test_a_worker_that_never_started_can_be_stopped(mailbox: Mailbox[Any]) -> None:
    Worker(mailbox, Segmenter(), never).stop()


def test_a_published_image_is_let_go(mailbox: Mailbox[Any]) -> None:
    class Header:
        pass

    header, gone, output = Header(), threading.Event(), SimpleNamespace(done=threading.Event())
    weakref.finalize(header, gone.set)
    output.stats = SimpleNamespace(count=lambda _: None)
    output.publish = lambda _image, _result: output.done.set()
    worker = Worker(mailbox, Segmenter(), never)
    worker.start()
    mailbox.put(Arrival(image(header), output))
    del header
    assert output.done.wait(WAIT_S)
    gc.collect()
    assert gone.wait(WAIT_S), 'the worker still holds it while it waits for the next'
    worker.stop()
