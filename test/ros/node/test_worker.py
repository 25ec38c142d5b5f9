from __future__ import annotations

import gc
import threading
import weakref

from lemore_core.mailbox import Mailbox
from lemore_ros.node.worker import Worker

WAIT_S = 10


def test_items_are_processed_on_another_thread() -> None:
    mailbox: Mailbox[int] = Mailbox()
    done = threading.Event()
    threads: list[int] = []

    def process(_items: list[int]) -> None:
        threads.append(threading.get_ident())
        done.set()

    worker = Worker(mailbox, process)
    worker.start()
    mailbox.put(1)
    assert done.wait(WAIT_S)
    worker.stop()
    assert threads[0] != threading.get_ident()


def test_as_many_are_processed_together_as_there_is_room_for() -> None:
    mailbox: Mailbox[str] = Mailbox()
    for sender in ('front', 'left', 'rear'):
        mailbox.put(sender, sender)
    taken: list[list[str]] = []
    done = threading.Event()

    def process(items: list[str]) -> None:
        taken.append(items)
        if len(taken) == 2:
            done.set()

    worker = Worker(mailbox, process, lambda: 2)
    worker.start()
    assert done.wait(WAIT_S)
    worker.stop()
    assert taken == [['front', 'left'], ['rear']]


def test_stopping_waits_for_the_item_in_hand_and_drops_the_next() -> None:
    mailbox: Mailbox[int] = Mailbox()
    begun, release = threading.Event(), threading.Event()
    finished: list[int] = []

    def process(items: list[int]) -> None:
        begun.set()
        assert release.wait(WAIT_S)
        finished.extend(items)

    worker = Worker(mailbox, process)
    worker.start()
    mailbox.put(1)
    assert begun.wait(WAIT_S)
    mailbox.put(2)
    release_soon = threading.Timer(0.05, release.set)
    release_soon.start()
    assert worker.stop() == 1
    assert finished == [1]


def test_a_worker_that_never_started_can_be_stopped() -> None:
    assert Worker(Mailbox[int](), lambda _: None).stop() == 0


def test_a_processed_item_is_let_go() -> None:
    class Item:
        pass

    mailbox: Mailbox[Item] = Mailbox()
    done = threading.Event()
    worker = Worker(mailbox, lambda _: done.set())
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
