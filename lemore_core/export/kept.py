"""Files behind a checksum in a folder of this user's alone: what can be made again."""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path

from lemore_core.common.files import read_own, write_own

_CHECKSUM = hashlib.sha256().digest_size

_log = logging.getLogger(__name__)


def read_kept(file: Path, most: int) -> bytes | None:
    """Return what :func:`keep` wrote, None where it is not there, damaged or somebody else's."""
    try:
        kept = read_own(file, most)
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning('%s is not used, it is made again: %s', file, error)
        return None
    checksum, content = kept[:_CHECKSUM], kept[_CHECKSUM:]
    if hashlib.sha256(content).digest() != checksum:
        _log.info('%s is damaged, it is made again', file)
        return None
    with suppress(OSError):
        # the last used stay longest
        os.utime(file)
    return content


def keep(file: Path, content: bytes, count: int) -> None:
    """Write a file, and delete all but the ``count`` last used of its folder and suffix."""
    write_own(file, hashlib.sha256(content).digest() + content)
    kept = sorted(file.parent.glob(f'[!.]*{file.suffix}'), key=lambda path: path.stat().st_mtime)
    for old in kept[:-count]:
        old.unlink(missing_ok=True)
