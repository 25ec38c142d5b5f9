from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lemore_core.common.json_child import ChildError, JsonChild

ROOT = Path(__file__).parents[3]
WAIT_S = 60.0
CHILD = """
import os, sys, time
from lemore_core.common.json_child import serve_parent

def work(order, answer):
{}

sys.exit(serve_parent(work))
"""

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that writes a child which does what it is given, and its module's name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT))

    def write(work: str) -> str:
        lines = [f'    {line}' for line in work.splitlines()]
        (tmp_path / 'its_child.py').write_text(CHILD.format('\n'.join(lines)))
        return 'its_child'

    return write


def test_answers_come_through_and_noise_does_not(write: Write, tmp_path: Path) -> None:
    module = write(
        "print('noise')\nos.write(1, b'noise')\nanswer(path=order['path'])\nanswer(done=[1, None])"
    )
    with JsonChild(module, {'path': tmp_path / 'ä b'}) as child:
        assert list(child) == [{'path': str(tmp_path / 'ä b')}, {'done': [1, None]}]


def test_what_it_raises_is_raised_here(write: Write) -> None:
    module = write("answer(x=1)\nraise MemoryError('no room\\nat all')")
    with (
        JsonChild(module, {}) as child,
        pytest.raises(ChildError, match=r'^MemoryError: no room at all$') as error,
    ):
        list(child)
    assert error.value.kind == 'MemoryError'


def test_one_that_dies_says_how(write: Write) -> None:
    message = r'its_child ended with code 9: last words$'
    with (
        JsonChild(write("print('last words', flush=True)\nos._exit(9)"), {}) as child,
        pytest.raises(ChildError, match=message),
    ):
        list(child)
    with (
        JsonChild(write('answer()\ntime.sleep(60)'), {}) as child,
        pytest.raises(ChildError, match=r'ended by SIGKILL \(is there enough memory\?\)'),
    ):
        [os.kill(child.pid, signal.SIGKILL) for _ in child]


def test_one_that_does_not_start_says_why() -> None:
    with (
        JsonChild('lemore_core.nowhere', {}) as child,
        pytest.raises(ChildError, match=r'code 1: .*No module named lemore_core\.nowhere'),
    ):
        list(child)


def test_it_ends_with_its_parent(write: Write, tmp_path: Path) -> None:
    module = write('answer()\ntime.sleep(60)')
    code = (
        f'import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n'
        'from lemore_core.common.json_child import JsonChild\n'
        f'child = JsonChild({module!r}, {{}})\n'
        'for _ in child: print(child.pid, flush=True)'
    )
    parent = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent:
        pid = int(parent.stdout.readline())
        assert runs(pid)
        parent.kill()
        deadline = time.monotonic() + WAIT_S
        while runs(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def runs(pid: int) -> bool:
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False
    return state != 'Z'
