from __future__ import annotations

from lemore_core.benchmark.turns import in_turns, times_in_turns


def test_tasks_take_turns_and_the_first_call_of_each_is_not_counted() -> None:
    calls: list[str] = []

    def task(name: str) -> int:
        calls.append(name)
        return len(calls)

    timed = in_turns({'a': lambda: task('a'), 'b': lambda: task('b')}, range(2))
    assert ''.join(calls) == 'ab' + 'aabb' * 2
    assert [returned for _, returned in timed['a']] == [4, 8]
    assert all(milliseconds >= 0 for milliseconds, _ in timed['b'])


def test_times_alone() -> None:
    times = times_in_turns({'a': lambda: 'large'}, range(3))
    assert len(times['a']) == 3
