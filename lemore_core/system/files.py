"""Files that users keep: written whole, beside their name and then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def user_cache() -> Path:
    """Return where this project keeps what it can make again: ``lemore`` in the user's cache."""
    configured = Path(os.environ.get('XDG_CACHE_HOME', ''))
    # the specification of that variable says to ignore a relative path
    base = configured if configured.is_absolute() else Path.home() / '.cache'
    return base / 'lemore'


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its name when the block succeeds.

    ``path`` is never seen half-written: if the block raises, it stays what it was. The temporary
    file keeps the suffix, for writers that choose their format by it.

    Raises:
        OSError: the folder cannot be made or written.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.stem}.', suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files, users expect what their umask says
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open('rb') as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file as :func:`atomic_write` does; text in UTF-8.

    Raises:
        OSError: the folder cannot be made or written.

    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
