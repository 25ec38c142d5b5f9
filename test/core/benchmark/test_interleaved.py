from __future__ import annotations

from lemore_core.benchmark.interleaved import interleaved, interleaved_times


def test_calls_are_interleaved_and_the_first_call_of_each_is_not_counted() -> None:
    calls: list[str] = []

    def task(name: str) -> int:
        calls.append(name)
        return len(calls)

    timed = interleaved({'a': lambda: task('a'), 'b': lambda: task('b')}, range(2))
    assert ''.join(calls) == 'ab' + 'aabb' * 2
    assert [returned for _, returned in timed['a']] == [4, 8]
    assert all(milliseconds >= 0 for milliseconds, _ in timed['b'])


def test_times_alone() -> None:
    times = interleaved_times({'a': lambda: 'large'}, range(3))
    assert len(times['a']) == 3
