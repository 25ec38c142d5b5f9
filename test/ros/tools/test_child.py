from __future__ import annotations

from pathlib import Path

import pytest

from lemore_ros.tools.child import Child, ChildError, wait_until

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def] # noqa: ANN201
    """Start a child from the text of a module."""
    monkeypatch.setenv('PYTHONPATH', f'{ROOT}:{tmp_path}')

    def start(source: str, **env: str) -> Child:
        (tmp_path / 'program.py').write_text(
            'import os, signal, sys, time\n'
            'from lemore_ros.tools.child import say\n'
            # a shell starts what runs in the background with SIGINT ignored, which is inherited
            'signal.signal(signal.SIGINT, signal.default_int_handler)\n'
            f'{source}\n'
        )
        return Child('program', 'program', ['x'], tmp_path / 'log', env)

    return start


def test_the_newest_of_each_value_is_kept(run) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    with run('say(a=1)\nprint("noise")\nprint(7)\nsay(a=2)\nsay(b=sys.argv[1])') as child:
        wait_until(lambda: child.ended, 30, 'its end', [child])
        child.check()
    assert child.poll() == {'a': 2, 'b': 'x'}


def test_the_environment_is_handed_on(run) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    with run('say(v=os.environ["LEMORE_TEST"])', LEMORE_TEST='here') as child:
        wait_until(lambda: child.poll().get('v') == 'here', 30, 'v', [child])


def test_a_dead_child_is_named_with_the_end_of_its_log(run) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    with (
        run('sys.exit("no camera here")') as child,
        pytest.raises(ChildError, match=r'program ended with status 1(.|\n)*no camera here'),
    ):
        wait_until(lambda: False, 30, 'ready', [child])


def test_a_silent_child_is_not_waited_for_forever(run) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    with run('say(here=1)\ntime.sleep(60)') as child:
        wait_until(lambda: 'here' in child.poll(), 30, 'here', [child])
        with pytest.raises(ChildError, match=r'ready: not within 1 s, see .*log'):
            wait_until(lambda: False, 1, 'ready', [child])


def test_a_stopped_child_may_say_its_last_words(run) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    source = 'try:\n say(up=1)\n time.sleep(60)\nexcept KeyboardInterrupt:\n say(last=1)'
    with run(source) as child:
        wait_until(lambda: 'up' in child.poll(), 30, 'up', [child])
    assert child.poll()['last'] == 1
