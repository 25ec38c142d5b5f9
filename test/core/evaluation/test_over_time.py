from __future__ import annotations

import math

import numpy as np
import pytest

from lemore_core.evaluation.over_time import OverTime


def test_few_frames_are_kept_as_they_are() -> None:
    series = OverTime(('a', 'b'))
    series.add(0.0, (1.0, math.nan))
    series.add(0.1, (3.0, 0.5))
    course = series.course()
    assert course.seconds.tolist() == [0.0, 0.1]
    assert course.mean['a'].tolist() == [1, 3]
    assert math.isnan(course.mean['b'][0])
    assert series.mean() == {'a': 2.0, 'b': 0.5}
    assert series.to_dict() == {
        'frames_per_row': 1,
        'seconds': [0.0, 0.1],
        'a': [1.0, 3.0],
        'b': [None, 0.5],
    }


def test_neighbours_share_points_and_keep_their_bounds() -> None:
    series = OverTime(('a', 'never'))
    values = np.random.default_rng(0).random(100)
    for index, value in enumerate(values):
        series.add(index, (value, math.nan))
    course = series.course(7)
    assert course.frames == 15
    assert course.seconds.tolist() == [7, 22, 37, 52, 67, 82, 94.5]
    assert course.mean['a'][-1] == pytest.approx(values[90:].mean())
    assert course.low['a'].min() == values.min()
    assert course.high['a'].max() == values.max()
    assert len(series.course().seconds) == 100
    assert series.mean()['a'] == pytest.approx(values.mean())
    assert 'never' not in series.to_dict()


def test_nothing_added_is_nothing() -> None:
    course = OverTime(('a',)).course()
    assert course.seconds.size == course.mean['a'].size == 0
