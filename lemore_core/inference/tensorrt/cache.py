"""Locate engines on disk, each named by the hash of all its inputs, and refuse broken ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from lemore_core.common.errors import LemoreError
from lemore_core.common.files import hash_of, read_own, require_own_folder, user_cache, write_own
from lemore_core.common.limits import MAX_JSON_BYTES
from lemore_core.export.onnx_file import export_key, keep, read_kept
from lemore_core.inference.backend import FP16, BackendError, RefusedEngineError, ServingRequest
from lemore_core.inference.gpu.device import Gpu, find_gpu
from lemore_core.inference.tensorrt.builder import load_tensorrt

LOCK = 'build.lock'
MOST_BYTES = 2**33

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedEngine:
    """The file of a request's engine for a GPU, built or not."""

    request: ServingRequest
    gpu: Gpu
    path: Path

    @property
    def is_built(self) -> bool:
        """Whether the file exists."""
        return self.path.is_file()

    def read(self) -> bytes | None:
        """Return the engine, None if it is missing or damaged."""
        return read_kept(self.path, MOST_BYTES)

    def keep(self, content: bytes) -> None:
        """Write the engine."""
        try:
            keep(self.path, content)
        except OSError as error:
            msg = (
                f'the engine ({len(content) / (1 << 20):.1f} MiB) was built but cannot be kept in '
                f'{self.path.parent} ({error}): make room there, or let this user write there'
            )
            raise BackendError(msg) from error

    def discard(self) -> None:
        """Delete the engine, if this user may."""
        with suppress(OSError):
            self.path.unlink()

    def refuse(self, error: LemoreError) -> None:
        """Write the file that keeps every process from loading or building this engine."""
        try:
            write_own(self._refused, f'{type(error).__name__}: {error}'.encode())
        except OSError as failure:
            _log.warning('the next start uses the engine again, %s', failure)

    def require_allowed(self) -> CachedEngine:
        """Return this engine, or raise the reason of its refusal."""
        with suppress(OSError):
            reason = read_own(self._refused, MAX_JSON_BYTES).decode(errors='replace')
            msg = f'the engine is refused ({reason}): delete {self._refused} to try again'
            raise RefusedEngineError(msg)
        return self

    @contextmanager
    def one_builder(self) -> Iterator[None]:
        """Wait until no other process builds: memory suffices for one."""
        folder, lock = self.path.parent, FileLock(self.path.parent / LOCK)
        try:
            # an engine is code: no other user may write to its folder
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_own_folder(folder)
            lock.acquire()
        except (OSError, NotImplementedError) as error:  # a file system without locks
            _log.warning('engines cannot be kept in %s: %s', folder, error)
        try:
            yield
        finally:
            lock.release()

    @property
    def _refused(self) -> Path:
        return self.path.with_suffix('.refused')


def locate_engine(request: ServingRequest) -> CachedEngine:
    """Return the engine of a request, built or not; raise if it is refused."""
    version, gpu = load_tensorrt().__version__, find_gpu(request.device)
    if request.is_exported:
        from onnx import load

        shape = load(request.path).graph.input[0].type.tensor_type.shape
        # imported networks run one image, whatever the request; 0 is an open batch
        request = dataclasses.replace(request, batch=shape.dim[0].dim_value or request.batch)
        network = hash_of(request.path)
    else:
        network = export_key(request.path, *request.size, half=request.gpu_precision == FP16)
    facts = [network, version, gpu.name, gpu.capability, gpu.driver, *request.size, request.batch]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    engine = CachedEngine(request, gpu, user_cache() / 'engines' / f'{digest}.engine')
    return engine.require_allowed()
