from __future__ import annotations

import argparse

import pytest

from lemore_core.cli.arguments import renamed


@pytest.mark.parametrize('given', [['--truth', 'a'], ['--truth=a'], ['--truth'], ['--out', '1']])
def test_an_old_flag_is_answered_with_the_new_one(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser('lemore', allow_abbrev=False)
    parser.add_argument('--ground-truth', required=True)
    renamed(parser, '--truth', '--ground-truth')
    renamed(parser, '--out', '--output')
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(given)
    assert caught.value.code == 2
    new = '--output' if '--out' in given else '--ground-truth'
    assert f'{given[0].partition("=")[0]} is called {new} now' in capsys.readouterr().err
    assert vars(parser.parse_args(['--ground-truth', 'a'])) == {'ground_truth': 'a'}
    assert '--truth' not in parser.format_help()
