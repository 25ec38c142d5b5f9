from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import pytest

from lemore_core.common.errors import LemoreError
from lemore_core.common.validation import REQUIRED, check_fields, entries, from_mapping, option


class PlanError(LemoreError):
    pass


@dataclass(frozen=True)
class Stage:
    channels: int = option(REQUIRED, 'width', low=1, high=64)
    kernels: tuple[int, ...] = option((3,), 'sizes', choices=(1, 3, 5))

    def __post_init__(self) -> None:
        check_fields(self, PlanError)


@dataclass(frozen=True)
class Plan:
    name: str = option(REQUIRED, 'any')
    rate: float = option(0.5, 'a share', low=0, high=1)
    steps: int = option(10, 'a count', low=2)
    scale: tuple[float, float] = option((0.5, 2.0), 'a range', low=0.1, high=8)
    size: tuple[int, int] | None = option(None, 'sides', low=1)
    parts: Mapping[str, bool] = option({}, 'switches')
    stages: tuple[Stage, ...] = ()
    precision: str = option('32', 'bits', choices=('16', '32'))
    device: str = option('cpu', 'where', pattern=r'cpu|cuda(:\d+)?', allowed='cpu or cuda:N')
    path: Path | None = None
    fast: bool = False
    anything: Any = None
    _: KW_ONLY
    seconds: float = option(math.inf, 'a while', low=0, live=True)

    def __post_init__(self) -> None:
        check_fields(self, PlanError)
        if self.fast and self.steps > 100:
            msg = f'steps is {self.steps}, too many for a fast plan'
            raise PlanError(msg)


def test_plain_values_become_what_is_declared() -> None:
    values = {'rate': '1e-3', 'scale': ['1e0', 2], 'size': [3, 4], 'precision': 16, 'path': 'a/b'}
    values |= {'stages': [{'channels': 8, 'kernels': [3, 5]}, {'channels': 4}], 'seconds': 3}
    others = {'name': 'a', 'parts': {'left': False}, 'anything': [1]}
    plan = from_mapping(Plan, values | others, 'here', PlanError)
    expected = {'rate': 1e-3, 'scale': (1.0, 2.0), 'size': (3, 4), 'precision': '16'}
    expected |= {'path': Path('a/b'), 'stages': (Stage(8, (3, 5)), Stage(4)), 'seconds': 3.0}
    assert plan == Plan(**expected, **others)
    assert isinstance(plan.seconds, float)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'rate': 'fast'}, "rate is 'fast', allowed: a number from 0 to 1"),
        ({'rate': math.nan}, 'rate is nan, allowed: a number from 0 to 1'),
        ({'steps': 1}, 'steps is 1, allowed: an integer, 2 or more'),
        ({'steps': True}, 'steps is True, allowed: an integer, 2 or more'),
        ({'precision': 8}, "precision is '8', allowed: one of 16, 32"),
        ({'scale': 2.0}, 'scale is 2.0, allowed: a list of 2, each a number from 0.1 to 8'),
        ({'size': [512, 0]}, 'allowed: nothing or a list of 2, each an integer, 1 or more'),
        ({'parts': {'left': 0}}, "parts is {'left': 0}, allowed: names, each with true or false"),
        ({'device': 'tpu'}, "device is 'tpu', allowed: cpu or cuda:N"),
        ({'stages': [{'channels': 0}]}, 'stages[0]: channels is 0, allowed: an integer from 1'),
        ({'pace': 3}, 'unknown fields pace (there are name, rate, steps, '),
        ({'fast': True, 'steps': 101}, 'steps is 101, too many for a fast plan'),
    ],
)
def test_a_wrong_field_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError) as caught:
        from_mapping(Plan, {'name': 'a', **values}, 'mine.yaml', PlanError)
    assert str(caught.value).startswith('mine.yaml: ')
    assert message in str(caught.value)


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        from_mapping(Plan, {'pace': 1, 'steps': 'ten', 'stages': [{}], 'rate': 2}, 'it', PlanError)
    for part in ('pace', 'name is missing', "steps is 'ten'", 'rate is 2', 'channels is missing'):
        assert part in str(caught.value)
    with pytest.raises(PlanError, match=r'rate is 2, allowed: .*; steps is 0, allowed: '):
        Plan('a', rate=2, steps=0)
    with pytest.raises(PlanError, match=r"it is \['a'\], allowed: fields and their values"):
        from_mapping(Plan, ['a'], 'it', PlanError)


def test_a_field_tells_what_it_is() -> None:
    known = entries(Plan)
    assert known['rate'].text == 'a share'
    assert known['rate'].allowed == 'a number from 0 to 1'
    assert known['name'].required
    assert not known['stages'].required
    assert '_' not in known
