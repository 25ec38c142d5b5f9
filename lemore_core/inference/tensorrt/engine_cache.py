"""Engines kept on disk: built once, checked whenever they are read, never worth a failure.

An engine lies beside a JSON description under a name that is the hash of everything that it
depends on. What is damaged or belongs to something else is built again; a disk that is full or
read-only costs the cache and nothing more. Nothing here knows what an engine is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from lemore_core.common.errors import LemoreError
from lemore_core.common.files import read_own, require_own_folder, user_cache, write_own
from lemore_core.common.limits import MAX_JSON_BYTES, parse_json
from lemore_core.common.validation import check_fields, from_mapping, option
from lemore_core.inference.backend import QuarantinedError

FORMAT = 'lemore-engine/2'
ENGINE, DESCRIPTION, LOCK = '.engine', '.json', 'build.lock'
KERNELS = '.kernels'  # what TensorRT for RTX compiled of the engine on the GPU here
QUARANTINE = '.quarantine'

MOST_BYTES = 2**33  # of an engine

_log = logging.getLogger(__name__)


class EngineCacheError(LemoreError):
    """Engines that cannot be read or deleted."""


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on.

    ``gpu`` and ``driver`` are empty for an engine that every GPU of its compute capability runs.
    """

    onnx_sha256: str
    library: str
    version: str
    gpu: str
    compute_capability: str
    driver: str
    precision: str
    height: int
    width: int
    batch: int

    @property
    def digest(self) -> str:
        """The name under which the engine is kept."""
        return _sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode())


@dataclass(frozen=True)
class EngineRecord:
    """An engine's description; its size is in bytes."""

    key: EngineKey
    size: int
    sha256: str
    build_seconds: float
    format: str = option(FORMAT, choices=(FORMAT,))

    def __post_init__(self) -> None:
        check_fields(self, EngineCacheError)


def default_folder() -> Path:
    """Return where engines are kept: ``lemore/engines`` in the user's cache folder."""
    return user_cache() / 'engines'


class EngineCache:
    """A folder of engines that any number of processes share."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()

    def get_or_build(self, key: EngineKey, build: Callable[[], bytes]) -> bytes:
        """Return the engine of ``key``, from the disk or from ``build``.

        One process builds at a time, because the memory is for one; if it dies, the next builds.
        What ``build`` raises is passed on and leaves nothing behind.

        Raises:
            QuarantinedError: the engine is in quarantine.
        """
        self._refuse_quarantined(key)
        engine = self.read(key)
        if engine is not None:
            return engine
        with self._one_builder():
            # another process may have built it, or found it broken, while this one waited
            self._refuse_quarantined(key)
            engine = self.read(key)
            if engine is None:
                started = time.monotonic()
                engine = build()
                self._write(key, engine, time.monotonic() - started)
            return engine

    def read(self, key: EngineKey) -> bytes | None:
        """Return the engine of ``key``, or None where there is none that is whole."""
        path = self.path(key)
        try:
            record = _read_record(path)
            engine = read_own(path, MOST_BYTES)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            _log.warning('%s is not used, it is built again: %s', path, error)
            return None
        except (OSError, ValueError, EngineCacheError) as error:
            _log.info('%s cannot be read, it is built again: %s', path, error)
            return None
        if record.key != key or _sha256(engine) != record.sha256:
            _log.info('%s is damaged or the engine of something else, it is built again', path)
            return None
        with suppress(OSError):
            os.utime(path.with_suffix(DESCRIPTION))
        return engine

    def discard(self, key: EngineKey) -> None:
        """Forget the engine of ``key``: its runtime refused it."""
        with suppress(OSError):
            self.path(key).unlink(missing_ok=True)

    def quarantine(self, key: EngineKey, reason: str) -> None:
        """Let no process use the engine of ``key`` until the file that says so is deleted."""
        self._keep(self.path(key).with_suffix(QUARANTINE), f'{reason}\n'.encode())

    def read_kernels(self, key: EngineKey) -> bytes:
        """Return what :meth:`keep_kernels` kept for the engine of ``key``, or nothing."""
        try:
            return read_own(self.path(key).with_suffix(KERNELS), MOST_BYTES)
        except OSError:
            return b''

    def keep_kernels(self, key: EngineKey, kernels: bytes) -> None:
        """Keep what was compiled of the engine of ``key`` here, for the next start."""
        self._keep(self.path(key).with_suffix(KERNELS), kernels)

    def path(self, key: EngineKey) -> Path:
        """Return the file of the engine of ``key``, which need not exist."""
        return self.folder / f'{key.digest}{ENGINE}'

    def used(self, key: EngineKey) -> datetime:
        """Return when the engine of ``key`` was last read or written.

        Raises:
            OSError: it is not there.
        """
        seconds = self.path(key).with_suffix(DESCRIPTION).stat().st_mtime
        return datetime.fromtimestamp(seconds, timezone.utc)

    def records(self) -> list[EngineRecord]:
        """Return every engine whose description is whole, the last used first."""
        records = []
        for path in self.folder.glob(f'*{DESCRIPTION}'):
            with suppress(OSError, ValueError, EngineCacheError):
                record = _read_record(path)
                records.append((self.used(record.key), record))
        return [record for _, record in sorted(records, key=lambda pair: pair[0], reverse=True)]

    def prune(self, is_kept: Callable[[EngineRecord], bool]) -> list[Path]:
        """Delete engines, and return which; what is damaged or half-written goes in any case.

        Raises:
            EngineCacheError: something cannot be deleted, or an engine is being built.
        """
        engines = [self.path(record.key) for record in self.records() if is_kept(record)]
        kept = {path.stem for path in engines if path.exists()}
        removed = set()
        if not self.folder.exists():
            return []
        try:
            require_own_folder(self.folder)  # a lock there may be a link to anything
            with FileLock(self.folder / LOCK, timeout=0):
                for file in self.folder.iterdir():
                    # a name that begins with a dot is of a file that was not written to its end
                    if file.name != LOCK and file.name.partition('.')[0] not in kept:
                        file.unlink(missing_ok=True)
                        if file.suffix in (ENGINE, DESCRIPTION) and file.name[0] != '.':
                            removed.add(file.with_suffix(ENGINE))
        except (OSError, Timeout) as error:
            busy = 'one is being built' if isinstance(error, Timeout) else error
            msg = f'engines in {self.folder} cannot be deleted: {busy}'
            raise EngineCacheError(msg) from error
        return sorted(removed)

    def _refuse_quarantined(self, key: EngineKey) -> None:
        path = self.path(key).with_suffix(QUARANTINE)
        with suppress(OSError):
            reason = read_own(path, MAX_JSON_BYTES).decode(errors='replace').strip()
            msg = f'the engine is in quarantine ({reason}): delete {path} to try it again'
            raise QuarantinedError(msg)

    @contextmanager
    def _one_builder(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                # an engine is code: nobody else writes where it lies
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                require_own_folder(self.folder)
                stack.enter_context(FileLock(self.folder / LOCK))
            except (OSError, NotImplementedError) as error:  # a file system without locks
                self._warn(error)
            yield

    def _write(self, key: EngineKey, engine: bytes, seconds: float) -> None:
        path = self.path(key)
        record = EngineRecord(key, len(engine), _sha256(engine), round(seconds, 3))
        description = json.dumps(dataclasses.asdict(record), indent=2) + '\n'
        # the description comes second: alone it would describe what is not there
        if self._keep(path, engine):
            self._keep(path.with_suffix(DESCRIPTION), description.encode())

    def _keep(self, path: Path, content: bytes) -> bool:
        try:
            write_own(path, content)
        except OSError as error:
            self._warn(error)
            return False
        return True

    def _warn(self, error: Exception) -> None:
        _log.warning(
            'engines cannot be kept in %s (%s): the next start builds again', self.folder, error
        )


def _read_record(path: Path) -> EngineRecord:
    """Read the description of the engine ``path``; OSError, ValueError, EngineCacheError."""
    values = parse_json(read_own(path.with_suffix(DESCRIPTION), MAX_JSON_BYTES))
    return from_mapping(EngineRecord, values, 'its description', EngineCacheError)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
