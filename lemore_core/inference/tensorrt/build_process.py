"""The process that builds an engine and tries it: what kills a process kills that one.

It runs without PyTorch until the engine is tried, and is the first that a system short of memory
ends: on a Jetson the builder, the node and the cameras share 8 GB.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lemore_core.common.child import Child, ChildError, serve_parent
from lemore_core.common.errors import GpuContextLostError, LemoreError
from lemore_core.common.validation import from_mapping
from lemore_core.export.cache import cached_export
from lemore_core.export.errors import PrecisionError
from lemore_core.inference.backend import (
    AUTO,
    FP16,
    FP32,
    BackendError,
    DeviceMemoryError,
    QuarantinedError,
    ServingRequest,
)
from lemore_core.inference.tensorrt.builder import build
from lemore_core.inference.tensorrt.engine_cache import EngineCache, EngineKey
from lemore_core.inference.tensorrt.libraries import (
    ComputeCapability,
    Library,
    library_for_capability,
    library_for_gpu,
)

MODULE = 'lemore_core.inference.tensorrt.build_process'
NICENESS = 19
OOM_SCORE = 1000  # the highest: first to go
AMPERE = ComputeCapability(8, 0)
# what a build may fail with that this process tells apart
ERRORS: Mapping[str, type[LemoreError]] = {
    error.__name__: error for error in (DeviceMemoryError, QuarantinedError, PrecisionError)
}


@dataclass(frozen=True)
class Target:
    """What an engine is for: the GPU here that is called ``device``, with its name and driver.

    Where ``device`` is empty, it is for every GPU of the compute capability.
    """

    compute_capability: str
    device: str = ''
    gpu: str = ''
    driver: str = ''

    @classmethod
    def here(cls, device: str = AUTO) -> Target:
        """Return the GPU that ``device`` means.

        Raises:
            BackendError: there is no such GPU, or torch cannot use it.
        """
        from lemore_core.inference.gpu.device import find_gpu

        gpu = find_gpu(device)
        return cls(str(gpu.capability), gpu.device, gpu.name, gpu.driver)

    def library(self, precision: str) -> Library:
        """Return what builds for it.

        Raises:
            BackendError: there is none, or not in this precision.
        """
        capability = ComputeCapability.parse(self.compute_capability)
        choose = library_for_gpu if self.device else library_for_capability
        library = choose(capability)
        if library.builds_ahead and capability < AMPERE and precision == FP32:
            msg = (
                f'{library.pip_name} multiplies no float32 matrices on compute capability '
                f'{capability}: use precision fp16'
            )
            raise BackendError(msg)
        return library


@dataclass(frozen=True)
class BuildRequest:
    """An engine to have in the cache; ``low_priority`` leaves the processors to all else."""

    request: ServingRequest
    target: Target
    low_priority: bool = True

    def start(self) -> Child:
        """Start the build, see :func:`wait_for_engine`.

        Raises:
            BackendError: nothing here builds for the target.
            OSError: no process can be started.
        """
        self.target.library(self.request.gpu_precision)
        return Child(MODULE, dataclasses.asdict(self))


def wait_for_engine(build: Child) -> EngineKey:
    """Wait until the engine is in the cache, and return its key.

    Raises:
        DeviceMemoryError: the GPU has no room to try it.
        QuarantinedError: it was built before, and must not be used.
        PrecisionError: the network's numbers are too large for half precision.
        BackendError: there is no engine, for the reason given.
    """
    try:
        answer = build.result()
    except ChildError as error:
        raise ERRORS.get(error.kind, BackendError)(str(error)) from error
    return from_mapping(EngineKey, answer, 'the answer of a build', BackendError)


def engine_key(request: ServingRequest, target: Target, library: Library, onnx: bytes) -> EngineKey:
    """Return everything that the engine of an ONNX file depends on."""
    # built ahead, it is one engine for every GPU of the capability, wherever it was built
    ahead = library.builds_ahead
    return EngineKey(
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        library=library.module,
        version=library.version,
        gpu='' if ahead else target.gpu,
        compute_capability=target.compute_capability,
        driver='' if ahead else target.driver,
        precision=request.gpu_precision,
        height=request.height,
        width=request.width,
        batch=_batch_of(onnx, request) if request.is_exported else request.batch,
    )


def _batch_of(onnx: bytes, request: ServingRequest) -> int:
    from onnx import load_from_string

    shape = load_from_string(onnx).graph.input[0].type.tensor_type.shape
    # imported networks take one image a run, whatever was asked for; 0 is an open batch
    return shape.dim[0].dim_value or request.batch


def _serve(order: Mapping[str, Any]) -> dict[str, Any]:
    wanted = from_mapping(BuildRequest, order, 'an order to build an engine', BackendError)
    _yield_to_others(wanted.low_priority)
    request, target = wanted.request, wanted.target
    if target.device:
        _see_only(int(target.device.partition(':')[2]))
    library = target.library(request.gpu_precision)
    if request.is_exported:
        onnx = request.path.read_bytes()
    else:
        onnx = cached_export(request.path, *request.size, half=request.gpu_precision == FP16)
    key = engine_key(request, target, library, onnx)
    cache = EngineCache(request.engine_cache)
    engine = cache.get_or_build(key, lambda: _build(library, onnx, key, cache, target))
    if cache.read(key) is None:
        msg = (
            f'the engine ({len(engine) / (1 << 20):.1f} MiB) was built but cannot be kept in '
            f'{cache.folder}: make room there, or let this user write there'
        )
        raise BackendError(msg)
    return dataclasses.asdict(key)


def _build(
    library: Library, onnx: bytes, key: EngineKey, cache: EngineCache, target: Target
) -> bytes:
    engine = build(
        library,
        onnx,
        (key.batch, key.height, key.width),
        ComputeCapability.parse(key.compute_capability),
    )
    if target.device:
        from lemore_core.inference.tensorrt.trial import EngineRejectedError, try_engine

        try:
            try_engine(library, engine, onnx, key)
        except (EngineRejectedError, GpuContextLostError) as error:
            # the next start would build and try the same for minutes
            cache.quarantine(key, str(error))
            raise
    return engine


def _see_only(index: int) -> None:
    """Let this process have one GPU, its first, whatever library asks for which."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    os.environ['CUDA_VISIBLE_DEVICES'] = visible.split(',')[index] if visible else str(index)


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
            # the disk follows: Linux takes the idle class of I/O for who has this policy
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


if __name__ == '__main__':
    sys.exit(serve_parent(_serve))
