from __future__ import annotations

import time
from pathlib import Path

import pytest

from lemore_ros.tools.child import Child, ChildError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def] # noqa: ANN201
    """Start a child from the text of a module."""
    monkeypatch.setenv('PYTHONPATH', f'{ROOT}:{tmp_path}')

    def start(source: str, **env: str) -> Child:
        (tmp_path / 'program.py').write_text(
            f'import os, sys, time\nfrom lemore_ros.tools.child import say\n{source}\n'
        )
        return Child('program', 'program', ['x'], tmp_path / 'log', env)

    return start


def test_the_newest_of_each_value_is_kept(run) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    with run('say(a=1)\nprint("noise")\nprint(7)\nsay(a=2)\nsay(b=sys.argv[1])') as child:
        assert child.wait_for('b', 30) == 'x'
        while not child.ended:
            time.sleep(0.01)
        child.check()
    assert child.poll() == {'a': 2, 'b': 'x'}


def test_the_environment_is_handed_on(run) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    with run('say(v=os.environ["LEMORE_TEST"])', LEMORE_TEST='here') as child:
        assert child.wait_for('v', 30) == 'here'


def test_a_dead_child_is_named_with_the_end_of_its_log(run) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    with (
        run('sys.exit("no camera here")') as child,
        pytest.raises(ChildError, match=r'program ended with status 1(.|\n)*no camera here'),
    ):
        child.wait_for('ready', 30)


def test_a_silent_child_is_not_waited_for_forever(run) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    with run('say(here=1)\ntime.sleep(60)') as child:
        child.wait_for('here', 30)
        with pytest.raises(ChildError, match="did not report 'ready' within 1"):
            child.wait_for('ready', 1)


def test_a_stopped_child_may_say_its_last_words(run) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    source = 'try:\n say(up=1)\n time.sleep(60)\nexcept KeyboardInterrupt:\n say(last=1)'
    with run(source) as child:
        child.wait_for('up', 30)
    assert child.poll()['last'] == 1
