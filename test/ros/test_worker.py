from __future__ import annotations

import gc
import threading
import weakref

import pytest

from lemore_ros.mailbox import Mailbox
from lemore_ros.worker import Worker

WAIT_S = 10


def test_items_are_processed_on_another_thread() -> None:
    mailbox: Mailbox[int] = Mailbox()
    done = threading.Event()
    threads: list[int] = []

    def process(_item: int) -> None:
        threads.append(threading.get_ident())
        done.set()

    worker = Worker(mailbox, process, lambda _: None)
    worker.start()
    mailbox.put(1)
    assert done.wait(WAIT_S)
    worker.stop()
    assert threads[0] != threading.get_ident()


@pytest.mark.parametrize('error', [ValueError('bad'), RuntimeError('no memory'), KeyError(1)])
def test_an_exception_of_one_item_is_told_and_the_next_is_processed(error: Exception) -> None:
    mailbox: Mailbox[int] = Mailbox()
    failed, done = threading.Event(), threading.Event()
    told: list[Exception] = []

    def process(item: int) -> None:
        if item < 0:
            raise error
        done.set()

    def on_error(found: Exception) -> None:
        told.append(found)
        failed.set()

    worker = Worker(mailbox, process, on_error)
    worker.start()
    mailbox.put(-1)
    assert failed.wait(WAIT_S)
    mailbox.put(1)
    assert done.wait(WAIT_S)
    worker.stop()
    assert told == [error]
    assert worker.failed == 1


def test_stopping_waits_for_the_item_in_flight_and_drops_the_next() -> None:
    mailbox: Mailbox[int] = Mailbox()
    begun, release = threading.Event(), threading.Event()
    finished: list[int] = []

    def process(item: int) -> None:
        begun.set()
        assert release.wait(WAIT_S)
        finished.append(item)

    worker = Worker(mailbox, process, lambda _: None)
    worker.start()
    mailbox.put(1)
    assert begun.wait(WAIT_S)
    mailbox.put(2)
    release_soon = threading.Timer(0.05, release.set)
    release_soon.start()
    assert worker.stop() is True
    assert finished == [1]


def test_a_worker_that_never_started_can_be_stopped() -> None:
    assert Worker(Mailbox[int](), lambda _: None, lambda _: None).stop() is False


def test_a_processed_item_is_let_go() -> None:
    class Item:
        pass

    mailbox: Mailbox[Item] = Mailbox()
    done = threading.Event()
    worker = Worker(mailbox, lambda _: done.set(), lambda _: None)
    worker.start()
    item = Item()
    gone = threading.Event()
    weakref.finalize(item, gone.set)
    mailbox.put(item)
    del item
    assert done.wait(WAIT_S)
    gc.collect()
    assert gone.wait(WAIT_S), 'the worker still holds it while it waits for the next'
    worker.stop()
