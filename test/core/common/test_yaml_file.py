import os
from pathlib import Path

import pytest

from lemore_core.common.errors import LemoreError
from lemore_core.common.limits import MAX_YAML_BYTES
from lemore_core.common.yaml_file import parse_yaml, read_yaml
from test.hostile_yaml import ALIASES


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        (ALIASES, r'line 2: the alias \*a0: write its values instead'),
        ('[' * 50, 'line 1: .* more than 32 levels'),
        ('a: 1\nb: 2\na: 3', "line 3: the key 'a' is given twice"),
        ('a:\n  2026-99-99', 'ValueError: month must be in 1..12'),
        ('!!python/object/apply:os.system [ls]', 'could not determine a constructor'),
        ('a: [1', 'line 2: did not find expected'),
        ('[a, b]'.encode('utf-16'), ': it is no text in UTF-8, save it so'),
        ('a:\n\t- b', r'line 2: .* \(indent by spaces, not by tabs\)'),
        ('x' * (MAX_YAML_BYTES + 1), 'it has more than 2097152 bytes'),
    ],
)
def test_what_is_refused_is_named_with_its_line(text: str | bytes, expected: str) -> None:
    with pytest.raises(LemoreError, match=f'^mine cannot be read.*{expected}'):
        parse_yaml(text, 'mine', LemoreError)


def test_plain_values_are_read() -> None:
    text = '\ufeffa: {x: 1}\nb:\n  y: [1e-3, 2.5, no]\n'.encode()
    values = parse_yaml(text, 'mine', LemoreError)
    assert values == {'a': {'x': 1}, 'b': {'y': ['1e-3', 2.5, False]}}


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe.yaml')
    for name in ('pipe.yaml', 'gone.yaml', 'nul\0.yaml', '.'):
        with pytest.raises(LemoreError, match=r'recipe .* cannot be read'):
            read_yaml(tmp_path / name, 'recipe', LemoreError)
