"""Build an engine and try it, in a process of its own, so that a crash ends nothing else.

That process is ``lemore engine build``. It runs without PyTorch until the engine is tried, and is
the first that a system short of memory ends: on a Jetson the builder and the node share 8 GB.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from lemore_core.common.errors import GpuContextLostError
from lemore_core.export.cache import cached_export
from lemore_core.export.errors import PrecisionError
from lemore_core.inference.backend import FP16, BackendError, ServingRequest, Status
from lemore_core.inference.gpu.device import gpus
from lemore_core.inference.needs import missing
from lemore_core.inference.tensorrt.builder import build, load_tensorrt
from lemore_core.inference.tensorrt.cache import CachedEngine, locate_engine

NICENESS = 19
OOM_SCORE = 1000  # the highest: first to go
# images of a size before its engine is built: an odd one costs nothing
MIN_IMAGES = 10
NEVER = -sys.maxsize  # a count that MIN_IMAGES is never reached from
TERMINATE_S = 2.0
TAIL_BYTES = 4096
READY = 'ready at the next start'

_log = logging.getLogger(__name__)


def build_engine(request: ServingRequest) -> CachedEngine:
    """Have the engine of a request in the cache, tried and found right."""
    cached = locate_engine(request)
    from lemore_core.inference.tensorrt.engine import EngineRejectedError

    try:
        with cached.one_builder():
            # another process may have built it, or found it broken, while this one waited
            if cached.require_allowed().read() is None:
                cached.keep(_build(cached))
    except (PrecisionError, GpuContextLostError, EngineRejectedError) as error:
        # the next start would build and try the same for minutes
        cached.refuse(error)
        raise
    return cached


class EngineBuild:
    """A running ``lemore engine build``; ``low_priority`` yields the processors to all others."""

    def __init__(self, request: ServingRequest, *, low_priority: bool = False) -> None:
        command = [sys.executable, '-m', 'lemore_core.cli.main', 'engine', 'build']
        options = {
            'model': request.path,
            'height': request.height,
            'width': request.width,
            'precision': request.precision,
            'batch': request.batch,
            'device': request.device,
        }
        command += [f'--{name}={value}' for name, value in options.items()]
        self._since = time.monotonic()
        # no pipe: nothing would empty it
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it ends with this object
        self._process = subprocess.Popen(
            [*command, '--low-priority'] if low_priority else command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env=os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def state(self) -> str:
        """``building, 45 s``, ``ready at the next start``, or ``failed: `` and the reason."""
        code = self._process.poll()
        if code is None:
            return f'building, {time.monotonic() - self._since:.0f} s'
        return READY if code == 0 else f'failed: {self._reason(code)}'

    def wait(self) -> None:
        """Wait for the engine."""
        code = self._process.wait()
        if code != 0:
            raise BackendError(self._reason(code))

    def stop(self) -> None:
        """End the process and its export, if they still run."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(subprocess.TimeoutExpired, ProcessLookupError):
                if self._process.poll() is None:
                    os.killpg(self._process.pid, number)
                self._process.wait(TERMINATE_S)

    def _reason(self, code: int) -> str:
        if code < 0:
            hint = ' (is there enough memory?)' if -code == signal.SIGKILL else ''
            return f'the build was ended by {signal.Signals(-code).name}{hint}'
        errors = self._errors.fileno()
        start = max(0, os.fstat(errors).st_size - TAIL_BYTES)
        tail = os.pread(errors, TAIL_BYTES, start).decode(errors='replace')
        last = tail.strip().splitlines()[-1:]
        return ''.join(last).removeprefix('lemore engine: ') or f'the build ended with code {code}'


class BackgroundBuilds:
    """Builds engines for the next start, one at a time, of sizes that keep coming."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int], int] = {}
        self._builds: dict[tuple[int, int], EngineBuild] = {}

    def count(self, request: ServingRequest, backend: str, images: int) -> None:
        """Count images that ``backend`` labelled; start the build of their size's engine."""
        size = request.size
        if size in self._builds or backend == 'tensorrt' or request.device == 'cpu':
            return
        self._counts[size] = self._counts.get(size, 0) + images
        if self._counts[size] < MIN_IMAGES or any(
            one.state.startswith('building') for one in self._builds.values()
        ):
            return
        self._counts[size] = NEVER
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
        state, degraded = running.state, status.degraded
        if state.startswith('failed'):
            reason = f'{status.backend} serves without an engine ({state})'
            degraded = '; '.join(filter(None, (degraded, reason)))
        return dataclasses.replace(status, engine=state, degraded=degraded)

    def close(self) -> None:
        """Stop the build that runs."""
        for one in self._builds.values():
            one.stop()


def yield_to_others(*, low_priority: bool) -> None:
    """Let this process be the first that a system short of memory ends, and the last that runs."""
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
