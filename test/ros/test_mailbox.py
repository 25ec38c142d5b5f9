from __future__ import annotations

import threading

from lemore_ros.mailbox import Mailbox


def test_only_the_newest_is_kept_and_the_others_are_counted() -> None:
    mailbox: Mailbox[int] = Mailbox()
    assert [mailbox.put(i) for i in range(4)] == [False, True, True, True]
    assert mailbox.take() == 3
    assert mailbox.replaced == 3
    assert mailbox.put(4) is False
    assert mailbox.clear() is True
    assert mailbox.clear() is False
    assert mailbox.replaced == 4


def test_a_reader_waits_for_the_next() -> None:
    mailbox: Mailbox[str] = Mailbox()
    taken: list[str | None] = []
    reader = threading.Thread(target=lambda: taken.append(mailbox.take()))
    reader.start()
    mailbox.put('frame')
    reader.join(10)
    assert taken == ['frame']


def test_closing_wakes_the_reader_and_ends_it_all() -> None:
    mailbox: Mailbox[int] = Mailbox()
    taken: list[int | None] = []
    reader = threading.Thread(target=lambda: taken.append(mailbox.take()))
    reader.start()
    assert mailbox.close() is False
    reader.join(10)
    assert taken == [None]
    assert mailbox.put(1) is False
    assert mailbox.take() is None


def test_what_waits_at_closing_is_dropped() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put(1)
    assert mailbox.close() is True
    assert mailbox.take() is None
    assert mailbox.replaced == 1


def test_nothing_is_lost_or_doubled_between_threads() -> None:
    mailbox: Mailbox[int] = Mailbox()
    taken: list[int] = []

    def read() -> None:
        while (item := mailbox.take()) is not None:
            taken.append(item)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(1, 20_001):
        mailbox.put(i)
    mailbox.close()
    reader.join(10)
    assert len(taken) + mailbox.replaced == 20_000
    assert taken == sorted(set(taken))
