"""``lemore engine``."""

from __future__ import annotations

import argparse
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from lemore_core.cli.arguments import (
    add_model_arguments,
    add_precision_argument,
    add_size_arguments,
    requested_size,
)
from lemore_core.common.errors import LemoreError, counted

if TYPE_CHECKING:
    from lemore_core.inference.backend import ServingRequest
    from lemore_core.inference.tensorrt.build_process import Target
    from lemore_core.inference.tensorrt.engine_cache import EngineRecord

MIB = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='action')
    build = actions.add_parser('build', help='build an engine and keep it')
    add_model_arguments(build)
    add_size_arguments(build)
    add_precision_argument(build)
    build.add_argument('--batch', type=int, default=1, help='images a call, one per camera')
    build.add_argument(
        '--compute-capability',
        help='build ahead for GPUs such as 8.6, with or without one here (TensorRT for RTX)',
    )
    build.add_argument('--device', default='auto', help='auto, cuda or cuda:N: build for that GPU')
    actions.add_parser('list', help='show the engines that are kept, the last used first')
    prune = actions.add_parser(
        'prune', help='delete engines; without an option those of versions not installed here'
    )
    which = prune.add_mutually_exclusive_group()
    which.add_argument('--all', action='store_true', help='delete every engine')
    which.add_argument(
        '--older-than', type=float, metavar='DAYS', help='delete what was not used for so long'
    )


def run(arguments: argparse.Namespace) -> None:
    """Build, list or delete TensorRT engines."""
    {'build': _build, 'list': _list, 'prune': _prune}[arguments.action](arguments)


def _build(arguments: argparse.Namespace) -> None:
    from lemore_core.inference.tensorrt.build_process import BuildRequest, wait_for_engine
    from lemore_core.inference.tensorrt.engine_cache import EngineCache

    started = time.time()
    with BuildRequest(_request(arguments), _target(arguments), low_priority=False).start() as build:
        key = wait_for_engine(build)
    cache = EngineCache()
    (record,) = (record for record in cache.records() if record.key == key)
    path = cache.path(key)
    is_new = path.stat().st_mtime >= started
    print(f'{path}: {f"built in {record.build_seconds:.1f} s" if is_new else "there already"}')
    print(_summary(record))


def _request(arguments: argparse.Namespace) -> ServingRequest:
    from lemore_core.export.model_card import read_model_card
    from lemore_core.inference.backend import ServingRequest
    from lemore_core.segmenter import resolve_checkpoint

    path = resolve_checkpoint(arguments.model, arguments.dataset)
    config = read_model_card(path).config
    height, width = requested_size(arguments) or (config.height, config.width)
    return ServingRequest(path, height, width, precision=arguments.precision, batch=arguments.batch)


def _target(arguments: argparse.Namespace) -> Target:
    from lemore_core.inference.backend import AUTO, BackendError
    from lemore_core.inference.tensorrt.build_process import Target

    capability, device = arguments.compute_capability, arguments.device
    if capability is None:
        try:
            return Target.here(device)
        except BackendError as error:
            msg = f'{error}; or build ahead for a GPU elsewhere: --compute-capability 8.6'
            raise LemoreError(msg) from error
    if device != AUTO:
        msg = (
            f'--compute-capability {capability} and --device {device} both say what to build for: '
            'give one of them'
        )
        raise LemoreError(msg)
    return Target(capability)


def _list(_: argparse.Namespace) -> None:
    from lemore_core.inference.tensorrt.engine_cache import EngineCache

    cache = EngineCache()
    records = cache.records()
    for record in records:
        print(
            f'{record.key.digest[:12]}  {_summary(record)}, built in {record.build_seconds:.1f} s, '
            f'used {cache.used(record.key):%Y-%m-%d}'
        )
    total = sum(record.size for record in records) / MIB
    print(f'{counted(len(records), "engine")}, {total:.1f} MiB, in {cache.folder}')


def _prune(arguments: argparse.Namespace) -> None:
    from lemore_core.inference.tensorrt.engine_cache import EngineCache

    cache = EngineCache()
    before = sum(record.size for record in cache.records())
    if arguments.all:
        removed = cache.prune(lambda _: False)
    elif arguments.older_than is not None:
        oldest = datetime.now(timezone.utc) - timedelta(days=arguments.older_than)
        removed = cache.prune(lambda record: cache.used(record.key) >= oldest)
    else:
        versions = _versions_here()
        removed = cache.prune(lambda r: (r.key.library, r.key.version) in versions)
    after = sum(record.size for record in cache.records())
    print(f'{counted(len(removed), "engine")} deleted, {(before - after) / MIB:.1f} MiB freed')


def _versions_here() -> set[tuple[str, str]]:
    from lemore_core.inference.tensorrt.libraries import installed_libraries

    versions = {(library.module, library.version) for library in installed_libraries()}
    if not versions:
        msg = (
            'no TensorRT is installed, so no version is the current one: give --all or --older-than'
        )
        raise LemoreError(msg)
    return versions


def _summary(record: EngineRecord) -> str:
    key = record.key
    where = key.gpu or f'compute capability {key.compute_capability}'
    return (
        f'{key.width}x{key.height} x {key.batch}, {key.precision}, {where}, '
        f'{key.library} {key.version}, {record.size / MIB:.1f} MiB'
    )
