from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lemore_core.system.file_lock import locked


def test_only_one_holds_it(tmp_path: Path) -> None:
    path = tmp_path / 'lock'
    with locked(path) as held:
        assert held
        with locked(path, wait=False) as second:
            assert not second
    with locked(path, wait=False) as after:
        assert after


def test_what_goes_wrong_inside_frees_it(tmp_path: Path) -> None:
    path = tmp_path / 'lock'
    with pytest.raises(ZeroDivisionError), locked(path):
        raise ZeroDivisionError
    with locked(path, wait=False) as free:
        assert free


def test_who_waited_for_a_deleted_file_locks_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / 'lock'
    waiting, inside, leave = threading.Event(), threading.Event(), threading.Event()

    def wait_for_it() -> None:
        waiting.set()
        with locked(path):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=wait_for_it)
    with locked(path):
        thread.start()
        assert waiting.wait(10)
        assert not inside.wait(0.2)
        path.unlink()
    assert inside.wait(10)
    assert path.exists()
    with locked(path, wait=False) as free:
        assert not free, 'two hold the lock'
    leave.set()
    thread.join(10)


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(OSError, match='file'), locked(tmp_path / 'file' / 'lock'):
        pass
