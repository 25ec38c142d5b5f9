"""Engines on disk: one file each, named by the hash of everything that it depends on.

A damaged engine is built again; a full or read-only disk costs the engine and nothing more.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from lemore_core.common.errors import LemoreError
from lemore_core.common.files import read_own, require_own_folder, user_cache, write_own
from lemore_core.common.limits import MAX_JSON_BYTES
from lemore_core.export.cache import export_key
from lemore_core.export.errors import PrecisionError
from lemore_core.export.kept import keep, read_kept
from lemore_core.inference.backend import (
    AUTO,
    FP16,
    FP32,
    BackendError,
    RefusedEngineError,
    ServingRequest,
)
from lemore_core.inference.gpu.device import Gpu, find_gpu
from lemore_core.inference.tensorrt.builder import load_tensorrt

LOCK = 'build.lock'
MOST_KEPT, MOST_BYTES = 32, 2**33

_log = logging.getLogger(__name__)


class EngineCache:
    """A folder of engines that any number of processes share."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or user_cache() / 'engines'

    def path(self, digest: str) -> Path:
        """Return the file of an engine, which need not exist."""
        return self.folder / f'{digest}.engine'

    def read(self, digest: str) -> bytes | None:
        """Return an engine, None where there is none that is whole."""
        return read_kept(self.path(digest), MOST_BYTES)

    def keep(self, digest: str, engine: bytes) -> None:
        """Write an engine."""
        try:
            keep(self.path(digest), engine, MOST_KEPT)
        except OSError as error:
            msg = (
                f'the engine ({len(engine) / (1 << 20):.1f} MiB) was built but cannot be kept in '
                f'{self.folder} ({error}): make room there, or let this user write there'
            )
            raise BackendError(msg) from error

    def discard(self, digest: str) -> None:
        """Delete an engine that its runtime does not load."""
        with suppress(OSError):
            self.path(digest).unlink(missing_ok=True)

    def refuse(self, digest: str, error: LemoreError) -> None:
        """Let no process load or build an engine until the file that says so is deleted."""
        try:
            write_own(self._refusal(digest), f'{type(error).__name__}: {error}\n'.encode())
        except OSError as failure:
            _log.warning('the next start uses the engine again, %s', failure)

    def refusal(self, digest: str) -> str:
        """Return why an engine is refused, empty where it is not."""
        with suppress(OSError):
            return read_own(self._refusal(digest), MAX_JSON_BYTES).decode(errors='replace').strip()
        return ''

    def require_allowed(self, digest: str) -> None:
        """Raise the refusal of an engine."""
        reason = self.refusal(digest)
        if reason:
            msg = f'the engine is refused ({reason}): delete {self._refusal(digest)} to try again'
            raise RefusedEngineError(msg)

    @contextmanager
    def one_builder(self) -> Iterator[None]:
        """Wait until no other process builds: the memory is for one."""
        with ExitStack() as stack:
            try:
                # an engine is code: nobody else writes to its folder
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                require_own_folder(self.folder)
                stack.enter_context(FileLock(self.folder / LOCK))
            except (OSError, NotImplementedError) as error:  # a file system without locks
                _log.warning('engines cannot be kept in %s: %s', self.folder, error)
            yield

    def _refusal(self, digest: str) -> Path:
        return self.folder / f'{digest}.refused'


class EngineOrder(NamedTuple):
    """An engine for a request whose precision is resolved, on a GPU; built or not."""

    request: ServingRequest
    gpu: Gpu
    digest: str

    @property
    def is_built(self) -> bool:
        """Whether the cache has it."""
        return EngineCache().path(self.digest).is_file()


def locate_engine(request: ServingRequest) -> EngineOrder:
    """Return the engine of a request: in fp16, or in fp32 where ``auto`` does not fit fp16."""
    api, gpu, cache = load_tensorrt(), find_gpu(request.device), EngineCache()
    if request.is_exported:
        request = dataclasses.replace(request, batch=_batch_of(request))
        return _allowed(cache, _order(request, gpu, api.__version__))
    is_auto = request.precision == AUTO
    half = _order(
        dataclasses.replace(request, precision=FP16 if is_auto else request.precision),
        gpu,
        api.__version__,
    )
    if is_auto and cache.refusal(half.digest).startswith(PrecisionError.__name__):
        single = dataclasses.replace(request, precision=FP32)
        return _allowed(cache, _order(single, gpu, api.__version__))
    return _allowed(cache, half)


def _allowed(cache: EngineCache, order: EngineOrder) -> EngineOrder:
    cache.require_allowed(order.digest)
    return order


def _order(request: ServingRequest, gpu: Gpu, version: str) -> EngineOrder:
    if request.is_exported:
        network = hashlib.sha256(request.path.read_bytes()).hexdigest()
    else:
        network = export_key(request.path, *request.size, half=request.precision == FP16)
    facts = [network, version, gpu.name, gpu.capability, gpu.driver, *request.size, request.batch]
    return EngineOrder(request, gpu, hashlib.sha256(json.dumps(facts).encode()).hexdigest())


def _batch_of(request: ServingRequest) -> int:
    from onnx import load

    shape = load(request.path).graph.input[0].type.tensor_type.shape
    # imported networks take one image a run, whatever was requested; 0 is an open batch
    return shape.dim[0].dim_value or request.batch
