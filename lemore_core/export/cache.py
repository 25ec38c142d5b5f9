"""Exports kept on disk, so that only the first start with a network and a size makes one.

An export takes seconds, and a process of several hundred megabytes of its own where PyTorch is not
in memory yet: a robot without a GPU has no other use for it. It is kept under the hash of all that
it follows from, the sources of this package included, behind a checksum. What is damaged is made
again; a disk that is full or read-only costs the cache and nothing more.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import sys
import tempfile
import threading
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import lemore_core
from lemore_core.checkpoint import CheckpointError
from lemore_core.common.child import Child, ChildError
from lemore_core.common.errors import LemoreError
from lemore_core.common.files import user_cache
from lemore_core.export.errors import ExportError, PrecisionError
from lemore_core.export.kept import keep, read_kept
from lemore_core.export.shipped import read_shipped

MODULE = 'lemore_core.export.export'
NICENESS = 10
MOST_KEPT, MOST_BYTES = 32, 2**31
SUFFIX = '.onnx'
PACKAGES = ('torch', 'onnx', 'onnxruntime')
# the checkpoint's reading, the network, and the graph that is made of it
SOURCES = ('.', 'model', 'export')
ERRORS: Mapping[str, type[LemoreError]] = {
    error.__name__: error for error in (CheckpointError, ExportError, PrecisionError)
}

_log = logging.getLogger(__name__)


def cached_export(path: Path, height: int, width: int, *, half: bool = False) -> bytes:
    """Return what :func:`~lemore_core.export.export.export_onnx` does: shipped, kept, or new.

    Processes that want the same at once may each make it.
    """
    shipped = None if half else read_shipped(path, height, width)
    if shipped is not None:
        return shipped
    try:
        file = user_cache() / 'exports' / f'{export_key(path, height, width, half=half)}{SUFFIX}'
    except (OSError, RuntimeError):
        # this user has no home, or the checkpoint cannot be read, which the export explains
        return _export(path, height, width, half=half)
    content = read_kept(file, MOST_BYTES)
    if content is None:
        content = _export(path, height, width, half=half)
        try:
            keep(file, content, MOST_KEPT)
        except OSError as error:
            _log.info('exports cannot be kept in %s (%s): each start makes one', file.parent, error)
    return content


def _export(path: Path, height: int, width: int, *, half: bool) -> bytes:
    if importlib.util.find_spec('torch') is None:
        msg = (
            f'{path} must be exported for ONNX Runtime, which needs torch: run lemore export '
            'where torch is installed and load the .onnx file it writes'
        )
        raise ExportError(msg)
    _log.info('exporting %s for %dx%d, once on this machine', path.name, width, height)
    if 'torch' in sys.modules and threading.current_thread() is threading.main_thread():
        # its memory is spent already, and nothing else goes on that this would hold up
        from lemore_core.export.export import export_onnx

        return export_onnx(path, height, width, half=half)
    return export_apart(path, height, width, half=half)


def export_apart(path: Path, height: int, width: int, *, half: bool) -> bytes:
    """Export in a process of its own, whose memory ends with it.

    Beside the main thread, which may be labelling, it leaves the processors to all else.
    """
    in_front = threading.current_thread() is threading.main_thread()
    with tempfile.TemporaryDirectory(prefix='lemore-export-') as folder:
        output = Path(folder, 'model.onnx')
        order = {'path': path, 'height': height, 'width': width, 'half': half, 'output': output}
        order['niceness'] = 0 if in_front else NICENESS
        try:
            with Child(MODULE, order) as child:
                child.result()
        except ChildError as error:
            raise ERRORS.get(error.kind, ExportError)(*error.args) from error
        return output.read_bytes()


def export_key(path: Path, height: int, width: int, *, half: bool = False) -> str:
    """Return the hash of everything that the export of a checkpoint depends on."""
    digest = hashlib.sha256(path.read_bytes())
    digest.update(json.dumps([height, width, half, *map(_version, PACKAGES)]).encode())
    root = Path(lemore_core.__file__).parent
    for source in sorted(file for name in SOURCES for file in (root / name).glob('*.py')):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ''
