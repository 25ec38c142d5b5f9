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
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lemore_core.errors import LemoreError
from lemore_core.system.files import user_cache, write_whole

FORMAT = 'lemore-engine/1'
ENGINE, DESCRIPTION, LOCK, TIMINGS = '.engine', '.json', '.lock', '.timings'
QUARANTINE = '.quarantine'

_log = logging.getLogger(__name__)


class EngineCacheError(LemoreError):
    """Engines that cannot be deleted, or must not be used."""


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
        return _sha256(json.dumps(self.to_dict(), sort_keys=True).encode())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON holds."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EngineKey:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ValueError: a field is missing, unknown or of another type.

        """
        types = {field.name: field.type for field in dataclasses.fields(cls)}
        found = {name: type(value).__name__ for name, value in values.items()}
        if found != types:
            msg = f'an engine is described by {types}, not {found}'
            raise ValueError(msg)
        return cls(**values)


@dataclass(frozen=True)
class EngineRecord:
    """An engine as its description has it; ``used`` is when it was last read or written."""

    path: Path
    key: EngineKey
    size: int
    sha256: str
    build_seconds: float
    created: datetime
    used: datetime

    @classmethod
    def read(cls, path: Path) -> EngineRecord:
        """Read the description of the engine ``path``.

        Raises:
            OSError: there is none.
            ValueError: it is damaged.

        """
        description = path.with_suffix(DESCRIPTION)
        values = json.loads(description.read_text(encoding='utf-8'))
        try:
            if values['format'] != FORMAT:
                msg = f'format {values["format"]!r} is not {FORMAT!r}'
                raise ValueError(msg)
            return cls(
                path=path,
                key=EngineKey.from_dict(values['key']),
                size=int(values['size']),
                sha256=str(values['sha256']),
                build_seconds=float(values['build_seconds']),
                created=datetime.fromisoformat(values['created']),
                used=datetime.fromtimestamp(description.stat().st_mtime, timezone.utc),
            )
        except (KeyError, TypeError, AttributeError) as error:
            msg = f'malformed: {error!r}'
            raise ValueError(msg) from error

    def to_dict(self) -> dict[str, Any]:
        """Return the description as JSON holds it."""
        return {
            'format': FORMAT,
            'key': self.key.to_dict(),
            'size': self.size,
            'sha256': self.sha256,
            'build_seconds': round(self.build_seconds, 3),
            'created': self.created.isoformat(timespec='seconds'),
        }


def default_folder() -> Path:
    """Return where engines are kept: ``lemore/engines`` in the user's cache folder."""
    return user_cache() / 'engines'


class EngineCache:
    """A folder of engines that any number of processes share."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()
        self._warned = False

    def get_or_build(self, key: EngineKey, build: Callable[[], bytes]) -> bytes:
        """Return the engine of ``key``, from the disk or from ``build``.

        Processes that want the same engine wait for the first of them; if that one dies, the next
        builds. What ``build`` raises is passed on and leaves nothing behind.

        Raises:
            EngineCacheError: the engine is in quarantine.

        """
        self._refuse_quarantined(key)
        engine = self.read(key)
        if engine is not None:
            return engine
        with self._one_builder(key):
            # another process may have built it while this one waited
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
            record = EngineRecord.read(path)
            engine = path.read_bytes()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.info('%s cannot be read, it is built again: %s', path, error)
            return None
        if record.key != key:
            _log.info('%s is the engine of something else, it is built again', path)
            return None
        if len(engine) != record.size or _sha256(engine) != record.sha256:
            _log.info('%s is damaged, it is built again', path)
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

    def path(self, key: EngineKey) -> Path:
        """Return the file of the engine of ``key``, which need not exist."""
        return self.folder / f'{key.digest}{ENGINE}'

    def records(self) -> list[EngineRecord]:
        """Return every engine whose description is whole, the last used first."""
        records = []
        for path in self._engines():
            with suppress(OSError, ValueError):
                records.append(EngineRecord.read(path))
        return sorted(records, key=lambda record: record.used, reverse=True)

    def read_timings(self, key: EngineKey) -> bytes:
        """Return the kernel timings of the key's library, version and GPU, if there are any."""
        try:
            return self._timings(key).read_bytes()
        except OSError:
            return b''

    def write_timings(self, key: EngineKey, timings: bytes) -> None:
        """Keep kernel timings for the next engine of the key's library, version and GPU."""
        self._keep(self._timings(key), timings)

    def prune(
        self,
        *,
        keep_bytes: int | None = None,
        older_than: timedelta | None = None,
        keep_versions: Collection[tuple[str, str]] | None = None,
    ) -> list[Path]:
        """Delete engines, and return which; one that is being built stays.

        An engine goes if it was not used for ``older_than``, if its (library, version) is not
        among ``keep_versions``, or if those used after it fill ``keep_bytes``. What is damaged or
        was left half-written goes in any case, and timings that no engine is left of.

        Raises:
            EngineCacheError: something cannot be deleted.

        """
        oldest = datetime.min.replace(tzinfo=timezone.utc)
        if older_than is not None:
            oldest = datetime.now(timezone.utc) - older_than
        kept: dict[Path, EngineRecord] = {}
        size = 0
        for record in self.records():
            size += record.size
            if (
                record.path.exists()
                and record.used >= oldest
                and (keep_versions is None or _version(record.key) in keep_versions)
                and (keep_bytes is None or size <= keep_bytes)
            ):
                kept[record.path] = record
        try:
            removed = [path for path in self._engines() if path not in kept and self._remove(path)]
            used = {self._timings(record.key) for record in kept.values()}
            for timings in set(self.folder.glob(f'*{TIMINGS}')) - used:
                timings.unlink(missing_ok=True)
        except OSError as error:
            msg = f'engines in {self.folder} cannot be deleted: {error}'
            raise EngineCacheError(msg) from error
        return removed

    def _refuse_quarantined(self, key: EngineKey) -> None:
        path = self.path(key).with_suffix(QUARANTINE)
        with suppress(OSError):
            reason = path.read_text(encoding='utf-8').strip()
            msg = f'the engine is in quarantine ({reason}): delete {path} to try it again'
            raise EngineCacheError(msg)

    @contextmanager
    def _one_builder(self, key: EngineKey) -> Iterator[None]:
        lock = self.path(key).with_suffix(LOCK)
        with ExitStack() as stack:
            try:
                # an engine is code: nobody else writes where it lies
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                stack.enter_context(FileLock(lock))
            except (OSError, NotImplementedError) as error:  # a file system without locks
                self._warn(error)
            yield

    def _write(self, key: EngineKey, engine: bytes, seconds: float) -> None:
        now = datetime.now(timezone.utc)
        path = self.path(key)
        record = EngineRecord(path, key, len(engine), _sha256(engine), seconds, now, now)
        description = json.dumps(record.to_dict(), indent=2) + '\n'
        # the description comes second: alone it would describe what is not there
        if self._keep(path, engine):
            self._keep(path.with_suffix(DESCRIPTION), description.encode())

    def _keep(self, path: Path, content: bytes) -> bool:
        try:
            write_whole(path, content)
        except OSError as error:
            self._warn(error)
            return False
        return True

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            _log.warning(
                'engines cannot be kept in %s (%s): the next start builds again', self.folder, error
            )
        self._warned = True

    def _engines(self) -> list[Path]:
        """List the engines that any file speaks of, be it a description or a lock."""
        names = {
            path.name.removeprefix('.').split('.')[0]
            for suffix in (ENGINE, DESCRIPTION, LOCK, QUARANTINE)
            for path in self.folder.glob(f'*{suffix}')
        }
        return [self.folder / f'{name}{ENGINE}' for name in sorted(names)]

    def _remove(self, path: Path) -> bool:
        """Delete all that belongs to an engine, unless a process builds it; was there one?"""
        with ExitStack() as stack:
            try:
                stack.enter_context(FileLock(path.with_suffix(LOCK), timeout=0))
            except Timeout:
                return False
            there = path.exists() or path.with_suffix(DESCRIPTION).exists()
            files = [path.with_suffix(suffix) for suffix in (DESCRIPTION, ENGINE, LOCK, QUARANTINE)]
            for file in (*self.folder.glob(f'.{path.stem}.*'), *files):
                file.unlink(missing_ok=True)
        return there

    def _timings(self, key: EngineKey) -> Path:
        hardware = _sha256(f'{key.gpu} {key.compute_capability} {key.driver}'.encode())[:16]
        return self.folder / f'{key.library}-{key.version}-{hardware}{TIMINGS}'


def _version(key: EngineKey) -> tuple[str, str]:
    return key.library, key.version


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
