"""Exports kept on disk, so that only the first start with a network and a size makes one.

An export takes seconds and a process of several hundred megabytes. It is kept under the hash of all
that it follows from, the sources of this package included, behind a checksum. What is damaged is
made again; a disk that is full or read-only costs the cache and nothing more.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import lemore_core
from lemore_core.system.files import user_cache, write_whole

MOST_KEPT = 32
SUFFIX = '.onnx'
PACKAGES = ('torch', 'onnx', 'onnxruntime')
# the checkpoint's reading, the network, and the graph that is made of it
SOURCES = ('.', 'model', 'export')

_log = logging.getLogger(__name__)


def cached_export(
    path: Path, height: int, width: int, export: Callable[[Path, int, int], bytes]
) -> bytes:
    """Return the ONNX file of a checkpoint for one network size: a kept one, or ``export``'s.

    What ``export`` raises is passed on. Processes that want the same at once may each make it.
    """
    try:
        folder = user_cache() / 'exports'
        file = folder / f'{_key(path, height, width)}{SUFFIX}'
    except (OSError, RuntimeError):
        # this user has no home, or the checkpoint cannot be read, which the export explains
        return export(path, height, width)
    content = _read(file)
    if content is None:
        content = export(path, height, width)
        with _worth_no_failure(folder):
            _keep(file, content)
    return content


def _key(path: Path, height: int, width: int) -> str:
    digest = hashlib.sha256(path.read_bytes())
    digest.update(json.dumps([height, width, [_version(name) for name in PACKAGES]]).encode())
    root = Path(lemore_core.__file__).parent
    for source in sorted(file for name in SOURCES for file in (root / name).glob('*.py')):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ''


def _read(file: Path) -> bytes | None:
    try:
        kept = file.read_bytes()
    except OSError:
        return None
    size = hashlib.sha256().digest_size
    checksum, content = kept[:size], kept[size:]
    if hashlib.sha256(content).digest() != checksum:
        _log.info('%s is damaged, the network is exported again', file)
        return None
    with suppress(OSError):
        # the last used stay longest
        os.utime(file)
    return content


def _keep(file: Path, content: bytes) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(file, hashlib.sha256(content).digest() + content)
    kept = sorted(file.parent.glob(f'[!.]*{SUFFIX}'), key=lambda path: path.stat().st_mtime)
    for old in kept[:-MOST_KEPT]:
        old.unlink(missing_ok=True)


@contextmanager
def _worth_no_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _log.info('exports cannot be kept in %s (%s): the next start makes one', folder, error)
