"""Write users' files and folders whole, one process a folder; keep caches of one user."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from lemore_core.common.errors import LemoreError, printable
from lemore_core.common.limits import MAX_MODEL_BYTES

POINTER = b'version https://git-lfs.github.com/spec'
WEB_PAGE = b'<!doctype html', b'<html'
TEMPORARY, LOCK = '.lemore-', '.lemore.lock'
LONGEST_SUFFIX = 16  # of a temporary file: a name has room for 255 bytes


class FolderInUseError(LemoreError):
    """An output folder that another process writes to."""


def user_cache() -> Path:
    """Return the folder ``lemore`` in the user's cache."""
    configured = Path(os.environ.get('XDG_CACHE_HOME', ''))
    # the specification of that variable says to ignore a relative path
    base = configured if configured.is_absolute() else Path.home() / '.cache'
    return base / 'lemore'


def at_home(path: str) -> Path:
    """Return a path with ~ for the home folder: no shell expands it in ``model:=~/mine.onnx`` or YAML."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - that of Path raises where there is none


@contextmanager
def atomic_write(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its name when the block succeeds.

    If the block raises, ``path`` stays as before. The temporary file keeps the suffix, for
    writers that choose their format by it. The umask is taken from ``mode``. The first file in a
    folder sweeps those of killed processes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent.absolute())
    suffix = path.suffix[:LONGEST_SUFFIX]
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY, suffix=suffix)
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        temporary = Path(name)
        if temporary.exists():
            break
        # another process swept it before it was locked
        os.close(handle)
    try:
        yield temporary
        # mkstemp makes private files
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(mode & ~umask)
        with temporary.open('rb') as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


@cache
def _sweep(folder: Path) -> None:
    """Delete the temporary files of processes that are gone: a living one holds a lock on its own."""
    for path in folder.glob(f'{TEMPORARY}*'):
        with suppress(OSError):
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(handle)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the name ``path`` when the block succeeds, else goes."""
    part = path.with_name(f'.{path.name}.part')
    with hold(part):
        made = part / 'made'
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        try:
            yield made
            made.rename(path)
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold an output folder for this process, and remove it at the end if nothing was written."""
    # imported late: light commands write no folder
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    path, me = folder / LOCK, f'process {os.getpid()} ({shlex.join(words)})'
    try:
        with FileLock(path, blocking=False):
            path.write_text(printable(me)[:400], encoding='utf-8')
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
    except Timeout as error:
        holder = path.read_text('utf-8', 'replace') if path.is_file() else ''
        msg = (
            f'{folder} is written to by {holder or "another process"}: wait for it, end it, or '
            'choose another --output'
        )
        raise FolderInUseError(msg) from error
    finally:
        with suppress(OSError):  # as it should, if anything was written
            folder.rmdir()


def require_new(output: Path, error: type[LemoreError]) -> None:
    """Refuse an output that exists."""
    if output.exists():
        msg = f'{output} exists already: choose another --output'
        raise error(msg)


def write_whole(path: Path, content: bytes | str, mode: int = 0o666) -> None:
    """Write a file as :func:`atomic_write` does; text in UTF-8."""
    with atomic_write(path, mode) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_own(path: Path, content: bytes) -> None:
    """Write a file for :func:`read_own`, into a private folder."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_own_folder(path.parent)
    write_whole(path, content, mode=0o600)


def open_regular(path: Path, most: int = sys.maxsize, flags: int = 0) -> BinaryIO:
    """Open a file that others may have sent; raises OSError for all but files of ``most`` bytes.

    A pipe or a device has no end, and what Git LFS or a browser left in a file's place is none.
    """
    # opening a pipe would wait
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        reason = 'it is no regular file, but a folder, a pipe or a device'
    elif status.st_size > most:
        reason = f'it has {status.st_size} bytes, allowed: up to {most}'
    elif (head := os.pread(handle, len(POINTER), 0)) == POINTER:
        reason = 'it is a Git LFS pointer, not the file itself: git lfs pull'
    elif head.lstrip().lower().startswith(WEB_PAGE):
        reason = 'it is a web page (HTML), not the file itself: download it again'
    else:
        return os.fdopen(handle, 'rb')
    os.close(handle)
    raise PermissionError(errno.EPERM, reason, str(path))


def read_regular(path: Path, most: int = MAX_MODEL_BYTES) -> bytes:
    """Return the content of a file, by default of a model; see :func:`open_regular`."""
    with open_regular(path, most) as file:
        return file.read(most)


def read_own(path: Path, most: int) -> bytes:
    """Return a file of at most ``most`` bytes (engines are code) that only this user can write."""
    require_own_folder(path.parent)
    with open_regular(path, most, os.O_NOFOLLOW) as file:
        _require_own(path, os.fstat(file.fileno()))
        return file.read(most)


def require_own_folder(folder: Path, files: str = '') -> None:
    """Refuse a folder, and the files in it that match, to which somebody else may write."""
    for path in (folder, *(folder.glob(files) if files else ())):
        _require_own(path, path.stat())


def _require_own(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in {os.geteuid(), 0}:
        reason = (
            f'it belongs to user {status.st_uid}, not to this one: delete it, or choose another'
        )
        raise PermissionError(errno.EPERM, reason, str(path))
    # a group of one's own is usual, and files are made writable for it
    is_private = status.st_gid == status.st_uid
    if stat.S_IMODE(status.st_mode) & (0o002 if is_private else 0o022):
        reason = 'others may write to it: chmod go-w, if you trust what it holds'
        raise PermissionError(errno.EPERM, reason, str(path))


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a model's file, in hexadecimal digits."""
    return hashlib.sha256(read_regular(path)).hexdigest()
