"""The process that builds an engine and tries it, so that a crash ends nothing else.

It runs without PyTorch until the engine is tried, and is the first that a system short of memory
ends: on a Jetson the builder, the node and the cameras share 8 GB.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lemore_core.common.errors import GpuContextLostError, LemoreError, in_one_line
from lemore_core.common.json_child import Answer, ChildError, JsonChild, serve_parent
from lemore_core.export.cache import cached_export
from lemore_core.export.errors import PrecisionError
from lemore_core.inference.backend import (
    AUTO,
    FP16,
    BackendError,
    DeviceMemoryError,
    RefusedEngineError,
    ServingRequest,
    Status,
)
from lemore_core.inference.needs import gpu_count, missing
from lemore_core.inference.tensorrt.builder import build, load_tensorrt

MODULE = 'lemore_core.inference.tensorrt.build'
NICENESS = 19
OOM_SCORE = 1000  # the highest: first to go
# images of a size before its engine is built: an odd one costs nothing
MIN_IMAGES = 10
JOIN_S = 5.0
# the errors of a build that the parent tells apart
ERRORS: Mapping[str, type[LemoreError]] = {
    error.__name__: error for error in (DeviceMemoryError, RefusedEngineError, PrecisionError)
}

_log = logging.getLogger(__name__)


def build_engine(
    request: ServingRequest,
    *,
    low_priority: bool = False,
    on_start: Callable[[JsonChild], None] = lambda _: None,
) -> None:
    """Have the engine of a request in the cache, in fp32 where ``auto`` does not fit fp16.

    ``low_priority`` yields the processors; ``on_start`` gets the process, to stop it.

    Raises:
        DeviceMemoryError: the GPU has no room to try it.
        RefusedEngineError: it was built before, and must not be used.
        PrecisionError: the network's numbers are too large for the requested half precision.
        BackendError: there is no engine, for the reason given.
        OSError: no process can be started.
    """
    try:
        with _start(request, low_priority=low_priority) as build:
            on_start(build)
            list(build)
    except ChildError as error:
        if error.kind == PrecisionError.__name__ and request.precision == AUTO:
            _log.warning('%s: the engine is built in fp32', error)
            build_engine(request, low_priority=low_priority, on_start=on_start)
            return
        raise ERRORS.get(error.kind, BackendError)(str(error)) from error


class BackgroundBuilds:
    """Builds engines for the next start, one at a time, of sizes that keep coming."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int], int] = {}
        self._states: dict[tuple[int, int], str] = {}
        self._since = 0.0
        self._build: JsonChild | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closing = False

    def count(self, request: ServingRequest, backend: str, images: int) -> None:
        """Note images that ``backend`` labelled; start the build of their size's engine."""
        size = request.size
        if backend == 'tensorrt' or size in self._states:
            return
        self._counts[size] = self._counts.get(size, 0) + images
        is_free = self._thread is None or not self._thread.is_alive()
        if self._counts[size] < MIN_IMAGES or not is_free or self._closing:
            return
        reason = missing('tensorrt')
        if request.device == 'cpu' or not gpu_count() or reason:
            _log.debug('no engine: %s', reason or 'no GPU, or the CPU is requested')
            self._states[size] = ''
            return
        self._states[size], self._since = 'building', time.monotonic()
        self._thread = threading.Thread(
            target=self._run, args=(request,), name='lemore_engine', daemon=True
        )
        self._thread.start()

    def status(self, size: tuple[int, int], status: Status) -> Status:
        """Return ``status`` of a size with the state of its engine."""
        state = self._states.get(size, '')
        if not state:
            return status
        if state == 'building':
            return dataclasses.replace(
                status, engine=f'building, {time.monotonic() - self._since:.0f} s'
            )
        reasons = [status.degraded] if status.degraded else []
        if state.startswith('failed'):
            reasons.append(f'{status.backend} serves without an engine ({state})')
        return dataclasses.replace(status, engine=state, degraded='; '.join(reasons))

    def close(self) -> None:
        """Stop the build."""
        with self._lock:
            self._closing = True
            build = self._build
        if build is not None:
            build.stop()
        if self._thread is not None:
            self._thread.join(JOIN_S)

    def _run(self, request: ServingRequest) -> None:
        """Wait for the process; this thread does nothing on the GPU."""
        size = f'{request.width}x{request.height}'
        try:
            build_engine(request, low_priority=True, on_start=self._remember)
        except Exception as error:  # noqa: BLE001 - the active backend is unaffected
            state = f'failed: {in_one_line(error)}'
            if not self._closing:
                _log.warning('engine for %s %s', size, state)
        else:
            state = 'ready at the next start'
            _log.info('the engine for %s is built and serves from the next start on', size)
        self._states[request.size] = state

    def _remember(self, build: JsonChild) -> None:
        with self._lock:
            self._build = build
            if self._closing:
                build.stop()


def _start(request: ServingRequest, *, low_priority: bool) -> JsonChild:
    from lemore_core.inference.tensorrt.cache import locate_engine

    request, gpu, digest = locate_engine(request)
    return JsonChild(
        MODULE,
        {
            'path': request.path,
            'shape': [request.batch, *request.size],
            'half': request.gpu_precision == FP16,
            'gpu': int(gpu.device.partition(':')[2]),
            'digest': digest,
            'low_priority': low_priority,
        },
    )


def _serve(order: Mapping[str, Any], _: Answer) -> None:
    _yield_to_others(order['low_priority'])
    # the first GPU of this process, whatever library is told which
    index, visible = order['gpu'], os.environ.get('CUDA_VISIBLE_DEVICES')
    os.environ['CUDA_VISIBLE_DEVICES'] = visible.split(',')[index] if visible else str(index)
    from lemore_core.inference.tensorrt.cache import EngineCache

    cache, digest = EngineCache(), order['digest']
    with cache.one_builder():
        # another process may have built it, or found it broken, while this one waited
        cache.require_allowed(digest)
        if cache.read(digest) is None:
            try:
                cache.keep(digest, _build(order))
            except (PrecisionError, BackendError, GpuContextLostError) as error:
                if _is_final(error):
                    # the next start would build and try the same for minutes
                    cache.refuse(digest, error)
                raise


def _build(order: Mapping[str, Any]) -> bytes:
    path, shape = Path(order['path']), tuple(order['shape'])
    if path.suffix == '.onnx':
        onnx = path.read_bytes()
    else:
        onnx = cached_export(path, *shape[1:], half=order['half'])
    api = load_tensorrt()
    engine = build(api, onnx, shape)
    from lemore_core.inference.tensorrt.trial import try_engine

    try_engine(api, engine, onnx, shape)
    return engine


def _is_final(error: LemoreError) -> bool:
    from lemore_core.inference.tensorrt.trial import EngineRejectedError

    return isinstance(error, (PrecisionError, GpuContextLostError, EngineRejectedError))


def _yield_to_others(low_priority: bool) -> None:
    with suppress(OSError):  # where there is no such file, or a sandbox forbids it
        Path('/proc/self/oom_score_adj').write_text(str(OOM_SCORE), encoding='ascii')
    if not low_priority:
        return
    with suppress(OSError):
        # numpy has threads by now, and Linux has a priority for each
        for folder in Path('/proc/self/task').iterdir():
            thread = int(folder.name)
            os.setpriority(os.PRIO_PROCESS, thread, NICENESS)
            # the disk follows: Linux takes the idle class of I/O for this policy
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


if __name__ == '__main__':
    sys.exit(serve_parent(_serve))
