from __future__ import annotations

import threading

from lemore_core.mailbox import Mailbox


def test_closing_wakes_the_reader_drops_what_waits_and_refuses_more() -> None:
    mailbox: Mailbox[int] = Mailbox()
    taken: list[list[int]] = []
    reader = threading.Thread(target=lambda: taken.append(mailbox.take()))
    reader.start()
    assert mailbox.close() == 0
    reader.join(10)
    assert taken == [[]]
    assert mailbox.put(1) is False
    other: Mailbox[int] = Mailbox()
    for sender in 'ab':
        other.put(1, sender)
    assert other.close() == 2
    assert other.take() == []


def test_senders_replace_only_their_own_items() -> None:
    mailbox: Mailbox[str] = Mailbox()
    assert not mailbox.put('front 1', 'front')
    assert not mailbox.put('rear 1', 'rear')
    assert mailbox.put('front 2', 'front')
    assert mailbox.clear('rear') is True
    assert mailbox.clear('rear') is False
    assert not mailbox.put('rear 2', 'rear')
    assert mailbox.take(4) == ['front 2', 'rear 2']


def test_senders_are_served_in_turns_however_often_the_others_send() -> None:
    mailbox: Mailbox[str] = Mailbox()
    served = []
    for sender in 'abc':
        mailbox.put(sender, sender)
    for _ in range(9):
        # a and b always send again before the next turn, c at times
        served += mailbox.take()
        for sender in 'aab':
            mailbox.put(sender, sender)
        if len(served) % 2:
            mailbox.put('c', 'c')
    assert ''.join(served) == 'abcabcabc'


def test_nothing_is_lost_or_doubled_between_threads() -> None:
    mailbox: Mailbox[int] = Mailbox()
    taken: list[int] = []

    def read() -> None:
        while items := mailbox.take(2):
            taken.extend(items)

    reader = threading.Thread(target=read)
    reader.start()
    replaced = sum(mailbox.put(i, 'ab'[i % 2]) for i in range(1, 20_001))
    lost = mailbox.close()
    reader.join(10)
    assert len(taken) + replaced + lost == 20_000
    for odd in (0, 1):
        of_one = [item for item in taken if item % 2 == odd]
        assert of_one == sorted(set(of_one))
