from __future__ import annotations

import os
from pathlib import Path

import pytest

from lemore_core.system.files import atomic_write


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'file.txt'
    with atomic_write(path) as temporary:
        temporary.write_text('half')
        assert temporary.suffix == '.txt'
        assert not path.exists()
    assert path.read_text() == 'half'
    assert os.listdir(path.parent) == ['file.txt']  # noqa: PTH208 - hidden ones too


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / 'file.txt'
    path.write_text('old')

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text('new')
            msg = 'disk on fire'
            raise OSError(msg)

    with pytest.raises(OSError, match='disk on fire'):
        fail()
    assert path.read_text() == 'old'
    assert [entry.name for entry in tmp_path.iterdir()] == ['file.txt']


def test_others_may_read_it_as_their_umask_says(tmp_path: Path) -> None:
    path = tmp_path / 'file.txt'
    former = os.umask(0o027)
    try:
        with atomic_write(path) as temporary:
            temporary.write_text('x')
    finally:
        os.umask(former)
    assert path.stat().st_mode & 0o777 == 0o640
