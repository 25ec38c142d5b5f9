"""The ONNX file of a checkpoint for one size: shipped beside it, kept on disk, or exported now.

An export takes seconds, and where PyTorch is not loaded yet a process of several hundred megabytes.
It is kept behind a checksum in a private folder, as engines are, named by the hash of all its
inputs, sources of this package included. A damaged file is made again; a full or read-only disk
only costs the cache. With what is shipped (``make exports``), a first start needs no PyTorch.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import lemore_core
from lemore_core.checkpoint import CheckpointError, ModelCard, read_card
from lemore_core.common.child import Child, ChildError
from lemore_core.common.errors import LemoreError, refusing
from lemore_core.common.files import hash_of, read_own, read_regular, user_cache, write_own
from lemore_core.export import ExportError, PrecisionError
from lemore_core.export.session import open_session

MODULE = 'lemore_core.export.export'
NICENESS = 10
MOST_KEPT, MOST_BYTES = 32, 2**31
CHECKSUM_BYTES = hashlib.sha256().digest_size
PACKAGES = ('torch', 'onnx', 'onnxruntime')
# folders of the sources: checkpoint, network and graph
SOURCES = ('.', 'model', 'export')
ERRORS: Mapping[str, type[LemoreError]] = {
    error.__name__: error for error in (CheckpointError, ExportError, PrecisionError)
}

_log = logging.getLogger(__name__)


def read_model_card(path: Path) -> ModelCard:
    """Return the card of a checkpoint, or of an ONNX file exported from one."""
    if path.suffix != '.onnx':
        return read_card(path)
    with refusing(f'{path} is no readable ONNX file', CheckpointError):
        metadata = _metadata(read_regular(path))
    if 'format' not in metadata:
        command = f'lemore import {path} --classes CLASSES.yaml --output NEW.onnx'
        msg = f'{path} does not describe itself: write a file that does, with {command}'
        raise CheckpointError(msg)
    return ModelCard.from_metadata(metadata, str(path))


def require_finite_weights(path: Path) -> None:
    """Refuse an ONNX file with NaN weights, if the package onnx is installed."""
    if importlib.util.find_spec('onnx') is None:
        return
    import numpy as np
    import onnx

    with refusing(f'{path} is no readable ONNX file', CheckpointError):
        model = onnx.load_model_from_string(read_regular(path))
        weights = [(one.name, onnx.numpy_helper.to_array(one)) for one in model.graph.initializer]
    for name, values in weights:
        # infinities may be meant, as in masks of attention; NaN may vanish in a ReLU
        if values.dtype.kind == 'f' and np.isnan(values.sum(dtype=np.float64)):
            msg = f'{path}: the weights {name} hold NaN: the training diverged'
            raise CheckpointError(msg)


def _metadata(content: bytes) -> dict[str, str]:
    if importlib.util.find_spec('onnxruntime') is None:
        import onnx

        model = onnx.load_from_string(content)
        return {entry.key: entry.value for entry in model.metadata_props}
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return dict(open_session(content, options).get_modelmeta().custom_metadata_map)


def cached_export(path: Path, height: int, width: int, *, half: bool = False) -> bytes:
    """Return the export of :func:`~lemore_core.export.export.export_onnx`: shipped, kept or new."""
    shipped = None if half else read_shipped(path, height, width)
    if shipped is not None:
        return shipped
    try:
        key = export_key(path, height, width, half=half)
        file = user_cache() / 'exports' / f'{key}.onnx'
    except (OSError, RuntimeError):
        # no home, or an unreadable checkpoint, which the export explains
        return _export(path, height, width, half=half)
    if (kept := read_kept(file, MOST_BYTES)) is not None:
        return kept
    content = _export(path, height, width, half=half)
    try:
        keep(file, content)
    except OSError as error:
        _log.info('exports cannot be kept in %s (%s): each start makes one', file.parent, error)
    return content


def export_key(path: Path, height: int, width: int, *, half: bool = False) -> str:
    """Return the hash of all inputs of a checkpoint's export."""
    digest = hashlib.sha256(hash_of(path).encode())
    digest.update(json.dumps([height, width, half, *map(_version, PACKAGES)]).encode())
    root = Path(lemore_core.__file__).parent
    for source in sorted(file for name in SOURCES for file in (root / name).glob('*.py')):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def read_kept(file: Path, most: int) -> bytes | None:
    """Return the content given to :func:`keep`, None if missing, damaged or another user's."""
    try:
        kept = read_own(file, most)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            _log.warning('%s is not used, it is made again: %s', file, error)
        return None
    checksum, content = kept[:CHECKSUM_BYTES], kept[CHECKSUM_BYTES:]
    if hashlib.sha256(content).digest() != checksum:
        _log.info('%s is damaged, it is made again', file)
        return None
    with suppress(OSError):
        os.utime(file)  # files used last stay longest
    return content


def keep(file: Path, content: bytes) -> None:
    """Write a file, and delete all but the last used of its folder and suffix."""
    write_own(file, hashlib.sha256(content).digest() + content)
    kept = sorted(file.parent.glob(f'[!.]*{file.suffix}'), key=lambda path: path.stat().st_mtime)
    for old in kept[:-MOST_KEPT]:
        old.unlink(missing_ok=True)


def _export(path: Path, height: int, width: int, *, half: bool) -> bytes:
    if importlib.util.find_spec('torch') is None:
        remedy = 'run lemore export where torch is installed and load the .onnx file it writes'
        msg = f'{path} must be exported for ONNX Runtime, which needs torch: {remedy}'
        raise ExportError(msg)
    _log.info('exporting %s for %dx%d, once on this machine', path.name, width, height)
    if 'torch' in sys.modules and threading.current_thread() is threading.main_thread():
        # PyTorch's memory is spent already, and nothing else waits
        from lemore_core.export.export import export_onnx

        return export_onnx(path, height, width, half=half)
    return export_apart(path, height, width, half=half)


def export_apart(path: Path, height: int, width: int, *, half: bool) -> bytes:
    """Export in a process of its own; off the main thread at low priority."""
    niceness = 0 if threading.current_thread() is threading.main_thread() else NICENESS
    order = {'path': path, 'height': height, 'width': width, 'half': half, 'niceness': niceness}
    with tempfile.TemporaryDirectory(prefix='lemore-export-') as folder:
        output = Path(folder, 'model.onnx')
        try:
            with Child(MODULE, order | {'output': output}) as child:
                child.result()
        except ChildError as error:
            raise ERRORS.get(error.kind, ExportError)(*error.args) from error
        return output.read_bytes()


def read_shipped(checkpoint: Path, height: int, width: int) -> bytes | None:
    """Return the export beside a checkpoint if it was made from this content, else None."""
    try:
        content = checkpoint.with_name(f'{checkpoint.stem}_{width}x{height}.onnx').read_bytes()
        # text is not encoded in an ONNX file: no need to parse it
        return content if hash_of(checkpoint).encode() in content else None
    except OSError:
        return None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ''
