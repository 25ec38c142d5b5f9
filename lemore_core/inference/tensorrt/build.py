"""Build an engine and try it in a child process, ``lemore engine build``.

It runs without PyTorch until the trial, and is the first process that a system short of memory
kills: on a Jetson the builder and the node share 8 GB.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from lemore_core.common.child import Child, ChildError
from lemore_core.common.errors import GpuContextLostError
from lemore_core.export import PrecisionError
from lemore_core.export.onnx_file import cached_export
from lemore_core.inference.backend import FP16, BackendError, ServingRequest, Status
from lemore_core.inference.gpu.device import gpus
from lemore_core.inference.registry import missing
from lemore_core.inference.tensorrt.builder import EngineRejectedError, build, load_tensorrt
from lemore_core.inference.tensorrt.cache import CachedEngine, locate_engine

NICENESS = 19
OOM_SCORE = 1000  # the highest: killed first
MIN_IMAGES = 10  # images of a size before its engine is built

_log = logging.getLogger(__name__)


def build_engine(request: ServingRequest) -> CachedEngine:
    """Build, try and keep the engine of a request, unless the cache has it."""
    cached = locate_engine(request)
    try:
        with cached.one_builder():
            # another process may have built or refused it meanwhile
            if cached.require_allowed().read() is None:
                cached.keep(_build(cached))
    except (PrecisionError, GpuContextLostError, EngineRejectedError) as error:
        # else the next start would build and try it again for minutes
        cached.refuse(error)
        raise
    return cached


class EngineBuild:
    """A running ``lemore engine build``; ``low_priority`` yields the processors to all others."""

    def __init__(self, request: ServingRequest, *, low_priority: bool = False) -> None:
        arguments = ['engine', 'build', f'--model={request.path}']
        names = ('height', 'width', 'precision', 'batch', 'device')
        arguments += [f'--{name}={getattr(request, name)}' for name in names]
        arguments += ['--low-priority'] * low_priority
        self._since = time.monotonic()
        self._child = Child('lemore_core.cli.main', arguments=arguments)
        self.pid, self.stop = self._child.pid, self._child.stop

    @property
    def state(self) -> str:
        """``building, 45 s``, ``ready at the next start``, or ``failed: `` and the reason."""
        if not self._child.ended:
            return f'building, {time.monotonic() - self._since:.0f} s'
        try:
            self.wait()
        except BackendError as error:
            return f'failed: {error}'
        return 'ready at the next start'

    def wait(self) -> None:
        """Wait for the engine."""
        try:
            self._child.result()
        except ChildError as error:
            raise BackendError(str(error).rpartition('lemore engine: ')[2]) from error


class BackgroundBuilds:
    """Builds engines for the next start, one at a time, of sizes that keep coming."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[int, int]] = Counter()
        # None where no build can be started
        self._builds: dict[tuple[int, int], EngineBuild | None] = {}

    def count(self, request: ServingRequest, backend: str, images: int) -> None:
        """Count images segmented by ``backend``, and start the build of their size's engine."""
        size = request.size
        if size in self._builds or backend == 'tensorrt' or request.device == 'cpu':
            return
        self._counts[size] += images
        is_busy = any(one and one.state.startswith('building') for one in self._builds.values())
        if self._counts[size] < MIN_IMAGES or is_busy:
            return
        self._builds[size] = None
        if gpus() and not missing('tensorrt'):
            try:
                self._builds[size] = EngineBuild(request, low_priority=True)
            except OSError as error:
                _log.warning('no engine is built, no process can be started: %s', error)

    def status(self, size: tuple[int, int], status: Status) -> Status:
        """Return ``status`` of a size with the state of its engine."""
        running = self._builds.get(size)
        if running is None:
            return status
        state, reasons = running.state, [status.degraded] if status.degraded else []
        if state.startswith('failed'):
            reasons.append(f'{status.backend} serves without an engine ({state})')
        return dataclasses.replace(status, engine=state, degraded='; '.join(reasons))

    def close(self) -> None:
        """Stop the running build."""
        for one in filter(None, self._builds.values()):
            one.stop()


def yield_to_others(*, low_priority: bool) -> None:
    """Let the system kill this process first and, with ``low_priority``, schedule it last."""
    with suppress(OSError):  # no such file, or a sandbox forbids it
        Path('/proc/self/oom_score_adj').write_text(str(OOM_SCORE), encoding='ascii')
    if not low_priority:
        return
    with suppress(OSError):
        # Linux has a priority for each thread, and numpy has started some
        for folder in Path('/proc/self/task').iterdir():
            thread = int(folder.name)
            os.setpriority(os.PRIO_PROCESS, thread, NICENESS)
            # Linux gives this policy the idle class of I/O
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def _build(cached: CachedEngine) -> bytes:
    request, device = cached.request, cached.gpu.device
    if request.is_exported:
        onnx = request.path.read_bytes()
    else:
        onnx = cached_export(request.path, *request.size, half=request.gpu_precision == FP16)
    if device != 'cuda:0':
        import torch

        # TensorRT builds for the current device
        torch.cuda.set_device(device)
    api, shape = load_tensorrt(), (request.batch, *request.size)
    engine = build(api, onnx, shape)
    from lemore_core.inference.tensorrt.engine import try_engine

    try_engine(api, engine, onnx, shape, device)
    return engine
