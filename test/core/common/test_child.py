from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lemore_core.common.child import Child, ChildError, stop_children
from test.waiting import wait_for

ROOT = Path(__file__).parents[3]
WAIT_S = 60.0
SERVES = """
def work(order):
{}

sys.exit(serve_parent(work))
"""

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that writes a module and returns its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT))

    def write(text: str) -> str:
        imports = 'import os, signal, sys, time\nfrom lemore_core.common.child import *\n'
        (tmp_path / 'its_child.py').write_text(imports + text)
        return 'its_child'

    return write


def serving(work: str) -> str:
    return SERVES.format('\n'.join(f'    {line}' for line in work.splitlines()))


def test_the_order_goes_in_and_the_answer_comes_out(write: Write, tmp_path: Path) -> None:
    work = "print('noise')\nos.write(1, b'noise')\nreturn {'path': order['path'], 'done': [1]}"
    with Child(write(serving(work)), {'path': tmp_path / 'ä b'}) as child:
        assert child.result() == {'path': str(tmp_path / 'ä b'), 'done': [1]}


def test_the_newest_of_each_value_is_kept(write: Write, tmp_path: Path) -> None:
    source = (
        'report(a=1)\nprint("noise")\nprint(7)\nreport(a=2)\n'
        'report(b=sys.argv[1], c=os.environ["LEMORE_TEST"])'
    )
    module, environment = write(source), {'LEMORE_TEST': 'here'}
    log = tmp_path / 'log'
    with Child(module, arguments=['x'], log=log, environment=environment) as child:
        assert child.result() == {'a': 2, 'b': 'x', 'c': 'here'}


WORKS = """
from concurrent.futures import ProcessPoolExecutor
from lemore_core.common.child import Child, worker_processes
import lemore_core.common.child as child
if __name__ == '__main__':
    {old}
    with ProcessPoolExecutor(1, worker_processes()) as pool:
        assert pool.submit(len, 'four').result() == 4
    with Child('its_child', arguments=['x']) as one:
        assert one.result()['a'] == ['x']
"""
# as Python 3.10, which does not know the variable
OLD = "child.KNOWS_SAFE, child.SAFE = False, 'UNKNOWN'"


@pytest.mark.parametrize('old', ['pass', OLD])
def test_files_of_the_current_folder_are_not_run(write: Write, tmp_path: Path, old: str) -> None:
    write('report(a=sys.argv[1:])')
    (tmp_path / 'works.py').write_text(WORKS.format(old=old))
    folder = tmp_path / 'stick'
    folder.mkdir()
    for name in ('multiprocessing', 'json', 'runpy', 'pickle', 'numpy', 'lemore_core'):
        (folder / f'{name}.py').write_text('import os\nos._exit(99)')
    path = os.pathsep.join(map(str, (ROOT, tmp_path)))
    environment = {**os.environ, 'PYTHONPATH': path}
    environment.pop('PYTHONSAFEPATH', None)
    command = [sys.executable, tmp_path / 'works.py']
    subprocess.run(command, check=True, cwd=folder, env=environment)


DIES = 'print("last words", file=sys.stderr)\nsys.exit(9)'
KILLED = 'os.kill(os.getpid(), signal.SIGKILL)'


@pytest.mark.parametrize(
    ('source', 'order', 'message'),
    [
        (serving("raise MemoryError('no room\\nat all')"), {}, '^MemoryError: no room at all$'),
        (serving('raise MemoryError'), {}, '^MemoryError$'),
        (serving(KILLED), {}, r'ended by SIGKILL \(is there enough memory\?\)'),
        (DIES, None, 'its_child ended with code 9, see .*log: last words$'),
    ],
)
def test_a_child_that_fails_says_why(
    write: Write, tmp_path: Path, source: str, order: dict[str, object] | None, message: str
) -> None:
    with (
        Child(write(source), order, log=tmp_path / 'log') as child,
        pytest.raises(ChildError, match=message) as error,
    ):
        child.result()
    assert error.value.kind == ('MemoryError' if 'MemoryError' in source else '')


def test_a_stopped_child_reports_its_last_values(write: Write) -> None:
    source = (
        'signal.signal(signal.SIGTERM, lambda *_: sys.exit(report(last=1)))\n'
        'report(up=1)\ntime.sleep(60)'
    )
    with Child(write(source)) as child:
        wait_for(lambda: 'up' in child.values)
    assert child.values == {'up': 1, 'last': 1}


def test_the_children_of_a_thread_are_stopped(write: Write) -> None:
    module, errors = write(serving('time.sleep(60)')), []

    def work() -> None:
        with Child(module, {}) as child:
            started.set()
            try:
                child.result()
            except ChildError as error:
                errors.append(str(error))

    started, thread = threading.Event(), threading.Thread(target=work)
    thread.start()
    assert started.wait(WAIT_S)
    stop_children(thread)
    thread.join(WAIT_S)
    assert errors == ['the process its_child was ended by SIGTERM']


def test_a_child_with_an_order_ends_with_its_parent(write: Write, tmp_path: Path) -> None:
    code = (
        f'import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n'
        'from lemore_core.common.child import Child\n'
        f'child = Child({write(serving("time.sleep(60)"))!r}, {{}})\n'
        'print(child.pid, flush=True)\nchild.result()'
    )
    with subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert runs(pid)
        parent.send_signal(signal.SIGKILL)
        wait_for(lambda: not runs(pid))


def runs(pid: int) -> bool:
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False
    return state != 'Z'
