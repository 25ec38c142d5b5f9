from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lemore_core.common import files
from lemore_core.common.files import TEMPORARY, atomic_write, hold, read_own, write_own


def test_a_file_appears_when_it_is_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'file.txt'
    former = os.umask(0o027)
    try:
        with atomic_write(path) as temporary:
            temporary.write_text('half')
            assert temporary.suffix == '.txt'
            assert not path.exists()
    finally:
        os.umask(former)
    with pytest.raises(TypeError), atomic_write(path) as temporary:
        temporary.write_bytes('no bytes')  # type: ignore[arg-type]
    assert path.read_text() == 'half'
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(path.parent) == ['file.txt']  # noqa: PTH208 - hidden ones too


def test_names_may_be_long_and_what_killed_processes_left_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f'{TEMPORARY}dead.png').touch()
    # a process that starts just now may sweep what is not locked yet
    sweeps, make = [files._sweep.__wrapped__], tempfile.mkstemp

    def make_and_sweep(**options: Any) -> tuple[int, str]:
        made = make(**options)
        if sweeps:
            sweeps.pop()(tmp_path)
        return made

    monkeypatch.setattr(tempfile, 'mkstemp', make_and_sweep)
    with atomic_write(tmp_path / f'{"x" * 251}.png') as temporary:
        temporary.touch()
        files._sweep.cache_clear()
        # that of a living process stays, whoever it is
        with atomic_write(tmp_path / ('y' * 255)):
            assert temporary.is_file()
    assert {len(entry.name) for entry in tmp_path.iterdir()} == {255}


def test_a_folder_is_of_one_process_at_a_time(tmp_path: Path) -> None:
    code = (
        'from lemore_core.common.files import *; hold(Path(sys.argv[1])).__enter__(); os._exit(0)'
    )
    other = [sys.executable, '-c', code, str(tmp_path / 'out')]
    with hold(tmp_path / 'out'):
        done = subprocess.run(other, capture_output=True, text=True, check=False)
        expected = rf'FolderInUseError: {tmp_path}/out is written to by process {os.getpid()} \('
        assert re.search(expected, done.stderr)
    assert not list(tmp_path.iterdir())
    # a killed process holds nothing
    subprocess.run(other, check=True)
    with hold(tmp_path / 'out'):
        (tmp_path / 'out' / 'a').touch()
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['a']


def test_a_file_of_ones_own_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / 'cache' / 'a.engine'
    former = os.umask(0o002)
    try:
        write_own(path, b'code')
    finally:
        os.umask(former)
    assert read_own(path, 4) == b'code'
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileNotFoundError):
        read_own(path.with_name('gone'), 4)


def test_what_others_may_have_written_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / 'cache' / 'a.engine'
    write_own(path, b'code')
    with pytest.raises(PermissionError, match='has 4 bytes, allowed: up to 3'):
        read_own(path, 3)
    path.chmod(0o602)
    with pytest.raises(PermissionError, match='others may write to it: chmod go-w'):
        read_own(path, 4)
    path.chmod(0o600)
    path.parent.chmod(0o777)
    for act in (lambda: read_own(path, 4), lambda: write_own(path, b'x')):
        with pytest.raises(PermissionError, match=r'others may write to it.*cache'):
            act()
    path.parent.chmod(0o700)
    (path.parent / 'link').symlink_to(path)
    with pytest.raises(OSError, match='symbolic links'):
        read_own(path.parent / 'link', 4)
    os.mkfifo(path.parent / 'pipe')
    with pytest.raises(PermissionError, match='no regular file'):
        read_own(path.parent / 'pipe', 4)
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
        with pytest.raises(PermissionError, match='it belongs to user 12345'):
            read_own(path, 4)
