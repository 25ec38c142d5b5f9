from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from filelock import FileLock

from lemore_core.inference.backend import QuarantinedError
from lemore_core.inference.tensorrt.engine_cache import (
    EngineCache,
    EngineCacheError,
    EngineKey,
    default_folder,
)

ROOT = Path(__file__).parents[4]
KEY = EngineKey(
    onnx_sha256='ab' * 32,
    library='tensorrt',
    version='11.4.0',
    gpu='NVIDIA RTX A2000',
    compute_capability='8.6',
    driver='580.65.06',
    precision='fp16',
    height=320,
    width=576,
    batch=1,
)
ENGINE = bytes(range(256)) * 40

# builds by writing its process id to the file `builds`, then waiting for `seconds`
SCRIPT = """
import json, os, sys, time
from pathlib import Path
from lemore_core.inference.tensorrt.engine_cache import EngineCache, EngineKey
folder, builds, seconds, key = sys.argv[1:]
def build():
    with open(builds, 'a') as file:
        print(os.getpid(), file=file, flush=True)
    time.sleep(float(seconds))
    return bytes(range(256)) * 40
engine = EngineCache(Path(folder)).get_or_build(EngineKey(**json.loads(key)), build)
print(len(engine), engine[255])
"""


def other(**changes: object) -> EngineKey:
    return dataclasses.replace(KEY, **changes)  # type: ignore[arg-type]


def never() -> bytes:
    pytest.fail('it was built again')


def start(folder: Path, builds: Path, seconds: float) -> subprocess.Popen[str]:
    arguments = [str(folder), str(builds), str(seconds), json.dumps(dataclasses.asdict(KEY))]
    return subprocess.Popen(
        [sys.executable, '-c', SCRIPT, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, 'it did not happen in 30 s'
        time.sleep(0.02)


def is_building(builds: Path) -> bool:
    return builds.exists() and builds.read_text().endswith('\n')


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / 'engines')


def test_an_engine_is_built_once_and_described(cache: EngineCache) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    assert cache.get_or_build(KEY, lambda: ENGINE) == ENGINE
    assert EngineCache(cache.folder).get_or_build(KEY, never) == ENGINE
    (record,) = cache.records()
    assert (record.key, record.size) == (KEY, len(ENGINE))
    assert record.sha256 == hashlib.sha256(ENGINE).hexdigest()
    assert 0 <= record.build_seconds < 10
    assert before <= cache.used(KEY) <= datetime.now(timezone.utc)
    assert cache.path(KEY).read_bytes() == ENGINE
    assert cache.folder.stat().st_mode & 0o777 == 0o700


def test_build_seconds_are_those_of_the_build(cache: EngineCache) -> None:
    def build() -> bytes:
        time.sleep(0.3)
        return ENGINE

    cache.get_or_build(KEY, build)
    assert 0.3 <= cache.records()[0].build_seconds < 10


@pytest.mark.parametrize('field', [field.name for field in dataclasses.fields(EngineKey)])
def test_everything_in_the_key_makes_another_engine(cache: EngineCache, field: str) -> None:
    changed = other(**{field: getattr(KEY, field) * 2})
    assert len({KEY.digest, changed.digest}) == 2
    cache.get_or_build(KEY, lambda: ENGINE)
    assert cache.get_or_build(changed, lambda: b'another') == b'another'
    assert cache.get_or_build(KEY, never) == ENGINE


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def replace_in_description(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        description = path.with_suffix('.json')
        content = description.read_text()
        assert old in content
        description.write_text(content.replace(old, new))

    return change


def describe_with(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.with_suffix('.json').write_bytes(content) and None


DAMAGE: dict[str, Callable[[Path], None]] = {
    'truncated': truncate,
    'one bit': flip,
    'empty': lambda path: path.write_bytes(b'') and None,
    'gone': lambda path: path.unlink(),
    'another engine of that size': lambda path: path.write_bytes(ENGINE[::-1]) and None,
    'description gone': lambda path: path.with_suffix('.json').unlink(),
    'description truncated': describe_with(b'{"format": "lemore-engine/2", "key": {'),
    'description empty': describe_with(b''),
    'description no text': describe_with(b'\xff\xfe\x00'),
    'description a list': describe_with(b'[1, 2]'),
    'description null': describe_with(b'null'),
    'of another format': replace_in_description('lemore-engine/2', 'lemore-engine/9'),
    'of another version': replace_in_description('11.4.0', '10.3.0'),
    'of another GPU': replace_in_description('A2000', 'A4000'),
    'of another driver': replace_in_description('580.65.06', '550.10.01'),
    'of another batch': replace_in_description('"batch": 1', '"batch": 2'),
    'a field too few': replace_in_description('"sha256"', '"sha"'),
    'key no mapping': replace_in_description('"key": {', '"key": 3, "old": {'),
    'batch no number': replace_in_description('"batch": 1', '"batch": "1"'),
}


@pytest.mark.parametrize('damage', DAMAGE.values(), ids=DAMAGE.keys())
def test_what_is_damaged_or_of_something_else_is_built_again(
    cache: EngineCache, damage: Callable[[Path], None]
) -> None:
    cache.get_or_build(KEY, lambda: ENGINE)
    damage(cache.path(KEY))
    assert cache.read(KEY) is None
    builds: list[int] = []
    assert cache.get_or_build(KEY, lambda: builds.append(1) or ENGINE) == ENGINE
    assert len(builds) == 1
    assert cache.get_or_build(KEY, never) == ENGINE


def test_a_refused_engine_is_forgotten(cache: EngineCache) -> None:
    cache.get_or_build(KEY, lambda: ENGINE)
    cache.discard(KEY)
    cache.discard(KEY)
    assert cache.get_or_build(KEY, lambda: b'new') == b'new'


@pytest.mark.parametrize(
    'error', [OSError('the GPU is gone'), ValueError('no'), KeyboardInterrupt()], ids=repr
)
def test_a_failed_build_is_passed_on_and_leaves_nothing(
    cache: EngineCache, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def build() -> bytes:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        cache.get_or_build(KEY, build)
    assert len(calls) == 1
    assert {path.suffix for path in cache.folder.iterdir()} == {'.lock'}
    assert not caplog.records
    assert cache.get_or_build(KEY, lambda: ENGINE) == ENGINE


def test_an_engine_in_quarantine_is_neither_used_nor_built(cache: EngineCache) -> None:
    cache.get_or_build(KEY, lambda: ENGINE)
    cache.quarantine(KEY, 'GPU context lost')
    marker = cache.path(KEY).with_suffix('.quarantine')
    with pytest.raises(QuarantinedError, match=f'GPU context lost.*: delete {marker} to try'):
        EngineCache(cache.folder).get_or_build(KEY, never)
    assert cache.get_or_build(other(batch=2), lambda: ENGINE) == ENGINE
    marker.unlink()
    assert cache.get_or_build(KEY, never) == ENGINE
    cache.quarantine(KEY, 'GPU context lost')
    cache.prune(lambda _: False)
    assert not marker.exists()


def test_two_processes_build_it_once(cache: EngineCache, tmp_path: Path) -> None:
    builds = tmp_path / 'builds'
    first = start(cache.folder, builds, 1.0)
    wait_until(lambda: is_building(builds))
    second = start(cache.folder, builds, 0.0)
    for process in (first, second):
        output, _ = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, f'{len(ENGINE)} 255\n')
    assert builds.read_text() == f'{first.pid}\n'


def test_who_waits_for_a_killed_builder_builds(cache: EngineCache, tmp_path: Path) -> None:
    builds = tmp_path / 'builds'
    first = start(cache.folder, builds, 600.0)
    second = None
    try:
        wait_until(lambda: is_building(builds))
        second = start(cache.folder, builds, 0.0)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=1.5)
        first.send_signal(signal.SIGKILL)
        output, _ = second.communicate(timeout=60)
        assert (second.returncode, output) == (0, f'{len(ENGINE)} 255\n')
        assert builds.read_text() == f'{first.pid}\n{second.pid}\n'
        assert cache.get_or_build(KEY, never) == ENGINE
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.communicate()


def test_threads_build_it_once(cache: EngineCache) -> None:
    builds: list[int] = []

    def build() -> bytes:
        builds.append(1)
        time.sleep(0.2)
        return ENGINE

    engines: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: engines.append(cache.get_or_build(KEY, build)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert engines == [ENGINE] * 4
    assert len(builds) == 1


def test_one_engine_is_built_at_a_time(cache: EngineCache, tmp_path: Path) -> None:
    builds = tmp_path / 'builds'
    process = start(cache.folder, builds, 600.0)
    try:
        wait_until(lambda: is_building(builds))
        built: list[bytes] = []
        another = other(batch=4)
        thread = threading.Thread(
            target=lambda: built.append(cache.get_or_build(another, lambda: ENGINE))
        )
        thread.start()
        thread.join(0.2)
        assert not built, 'there is memory for one'
    finally:
        process.kill()
        process.communicate()
    thread.join(20)
    assert built == [ENGINE]


def test_a_full_disk_costs_the_cache_and_nothing_else(cache: EngineCache, tmp_path: Path) -> None:
    # a limit on the size of files fails the write as a full disk does: in its middle
    limited = f'import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n{SCRIPT}'
    arguments = [
        str(cache.folder),
        str(tmp_path / 'builds'),
        '0',
        json.dumps(dataclasses.asdict(KEY)),
    ]
    result = subprocess.run(
        [sys.executable, '-c', limited, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stdout == f'{len(ENGINE)} 255\n'
    assert 'engines cannot be kept in' in result.stderr
    assert {path.suffix for path in cache.folder.iterdir()} == {'.lock'}
    assert cache.get_or_build(KEY, lambda: ENGINE) == ENGINE
    assert cache.get_or_build(KEY, never) == ENGINE


def test_a_folder_that_cannot_be_made_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # the tests may run as root, whom no permission keeps out: a file stands in the way
    (tmp_path / 'file').write_bytes(b'')
    cache = EngineCache(tmp_path / 'file' / 'engines')
    with caplog.at_level(logging.WARNING):
        for key in (KEY, other(batch=2)):
            assert cache.get_or_build(key, lambda: ENGINE) == ENGINE
            cache.keep_kernels(key, b'kernels')
            assert cache.read_kernels(key) == b''
        cache.discard(KEY)
    assert {str(cache.folder) in record.getMessage() for record in caplog.records} == {True}
    assert cache.records() == []


def test_compiled_kernels_are_kept_with_their_engine(cache: EngineCache) -> None:
    assert cache.read_kernels(KEY) == b''
    cache.keep_kernels(KEY, b'kernels')
    assert cache.read_kernels(KEY) == b'kernels'
    assert cache.read_kernels(other(batch=2)) == b''


def age(cache: EngineCache, key: EngineKey, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(cache.path(key).with_suffix('.json'), (then, then))


@pytest.fixture
def filled(cache: EngineCache) -> EngineCache:
    """Three engines, used 1, 10 and 20 days ago; the last of an older version."""
    for key, days in zip(KEYS, (1, 10, 20), strict=True):
        cache.get_or_build(key, lambda: ENGINE)
        cache.keep_kernels(key, b'kernels')
        age(cache, key, days)
    return cache


KEYS = [KEY, other(batch=2), other(version='10.3.0')]
SUFFIXES = ('.engine', '.json', '.kernels')


@pytest.mark.parametrize('kept', [KEYS, KEYS[:2], [KEY], []], ids=len)
def test_prune_keeps_what_it_is_told_to(filled: EngineCache, kept: list[EngineKey]) -> None:
    removed = filled.prune(lambda record: record.key in kept)
    assert [record.key for record in filled.records()] == kept
    assert set(removed) == {filled.path(key) for key in KEYS if key not in kept}
    expected = {filled.path(key).with_suffix(suffix) for key in kept for suffix in SUFFIXES}
    assert set(filled.folder.iterdir()) == expected | {filled.folder / 'build.lock'}
    for key in kept:
        assert filled.get_or_build(key, never) == ENGINE


def test_an_engine_that_is_used_stays_young(filled: EngineCache) -> None:
    assert [record.key for record in filled.records()] == KEYS
    filled.get_or_build(KEYS[2], never)
    assert [record.key for record in filled.records()] == [KEYS[2], *KEYS[:2]]
    ages = [datetime.now(timezone.utc) - filled.used(key) for key in KEYS]
    assert [round(age.total_seconds() / 86400) for age in ages] == [1, 10, 0]


def test_prune_deletes_what_is_damaged_or_half_written(filled: EngineCache) -> None:
    filled.path(KEYS[0]).with_suffix('.json').write_text('{')
    filled.path(KEYS[1]).unlink()
    leftover = filled.folder / f'.{KEYS[2].digest}.x1y2z3.engine'
    leftover.write_bytes(b'half')
    gone = other(batch=9)
    orphan = filled.folder / f'.{gone.digest}.x1y2z3.engine'
    orphan.write_bytes(b'half')
    removed = filled.prune(lambda _: True)
    assert set(removed) == {filled.path(KEYS[0]), filled.path(KEYS[1])}
    assert [record.key for record in filled.records()] == [KEYS[2]]
    assert not orphan.exists()


def test_prune_waits_for_no_build(filled: EngineCache) -> None:
    with (
        FileLock(filled.folder / 'build.lock'),
        pytest.raises(EngineCacheError, match='cannot be deleted: one is being built'),
    ):
        filled.prune(lambda _: False)
    assert filled.get_or_build(KEYS[0], never) == ENGINE


def test_prune_says_what_it_cannot_delete(
    filled: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        msg = 'read-only file system'
        raise OSError(msg)

    monkeypatch.setattr(Path, 'unlink', refuse)
    with pytest.raises(EngineCacheError, match='cannot be deleted: read-only file system'):
        filled.prune(lambda _: False)


def test_a_folder_that_is_not_there_has_no_engines(cache: EngineCache) -> None:
    assert cache.records() == []
    assert cache.prune(lambda _: False) == []


def test_the_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert default_folder() == EngineCache().folder == tmp_path / 'lemore' / 'engines'
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    for ignored in ('', 'relative/path'):
        monkeypatch.setenv('XDG_CACHE_HOME', ignored)
        assert default_folder() == tmp_path / 'home' / '.cache' / 'lemore' / 'engines'


@pytest.mark.parametrize('size', ['Infinity', '1e999', '[]', '{"a": 1}', '9' * 5000])
def test_a_description_of_no_numbers_is_damage(tmp_path: Path, size: str) -> None:
    cache = EngineCache(tmp_path)
    cache.get_or_build(KEY, lambda: ENGINE)
    description = cache.path(KEY).with_suffix('.json')
    text = description.read_text().replace(f'"size": {len(ENGINE)}', f'"size": {size}')
    description.write_text(text)
    assert cache.records() == []
    assert cache.get_or_build(KEY, lambda: b'another') == b'another'


def test_a_folder_that_others_write_to_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EngineCache(tmp_path / 'engines')
    assert cache.get_or_build(KEY, lambda: ENGINE) == ENGINE
    cache.folder.chmod(0o777)
    assert cache.get_or_build(KEY, lambda: b'another') == b'another'
    assert 'others may write to it: chmod go-w' in caplog.text
    victim = tmp_path / 'victim'
    victim.write_text('kept')
    lock = cache.folder / 'build.lock'
    lock.unlink(missing_ok=True)
    lock.symlink_to(victim)
    with pytest.raises(EngineCacheError, match='others may write to it'):
        cache.prune(lambda _: False)
    assert victim.read_text() == 'kept'
