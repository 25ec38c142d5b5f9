from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

import pytest

from lemore_ros.bags.evaluation.image_sequence import REMEMBERED, Matcher, Stamped


def items(times: Sequence[int]) -> Iterator[Stamped[int]]:
    return iter([Stamped(time, None, lambda time=time: time) for time in times])  # type: ignore[misc]


def taken(times: Sequence[int], asked: Sequence[int], tolerance: int) -> list[int | None]:
    matcher = Matcher(items(times), tolerance)
    found = []
    for moment, following in zip_longest(asked, asked[1:]):
        item = matcher.take(moment, following)
        found.append(None if item is None else item.load())
    return found


@pytest.mark.parametrize(
    ('times', 'asked', 'tolerance', 'found'),
    [
        ([0, 10, 20], [0, 10, 20], 0, [0, 10, 20]),
        ([1, 12], [0, 10, 20], 2, [1, 12, None]),
        ([13], [0, 10, 20], 2, [None, None, None]),
        # what is nearer to the next moment waits for it
        ([9], [0, 10, 20], 9, [None, 9, None]),
        # each is given once
        ([5], [4, 6], 9, [5, None]),
        # more truth than images
        (list(range(0, 1000, 3)), [300, 600], 1, [300, 600]),
        # out of order
        ([0, 20, 10, 30], [0, 10, 20, 30], 1, [0, 10, 20, 30]),
        ([0, 10, 20], [10, 0, 20], 1, [10, 0, 20]),
        ([], [1, 2], 1, [None, None]),
    ],
)
def test_each_moment_gets_what_is_nearest(
    times: list[int], asked: list[int], tolerance: int, found: list[int | None]
) -> None:
    assert taken(times, asked, tolerance) == found


def test_older_items_are_forgotten() -> None:
    matcher = Matcher(items(range(1000)), 0)
    assert matcher.take(900) is not None
    assert matcher.take(900 - REMEMBERED - 1) is None
    assert matcher.first_ns == 0
