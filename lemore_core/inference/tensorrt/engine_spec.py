"""From a request to an engine on a GPU's terms, through the cache."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from lemore_core.inference.backend import AUTO, FP32, BackendError, ServingRequest
from lemore_core.inference.gpu.device import find_gpu
from lemore_core.inference.tensorrt.builder import build
from lemore_core.inference.tensorrt.engine_cache import EngineCache, EngineKey
from lemore_core.inference.tensorrt.graph import engine_graph
from lemore_core.inference.tensorrt.libraries import (
    ComputeCapability,
    Library,
    library_for_capability,
    library_for_gpu,
)

MIB = 1 << 20
AMPERE = ComputeCapability(8, 0)


@dataclass(frozen=True)
class BuildTarget:
    """What an engine is for.

    ``gpu`` and ``driver`` count only for a library that builds on the GPU at hand, which torch
    calls ``device``; empty for the current one.
    """

    library: Library
    capability: ComputeCapability
    gpu: str = ''
    driver: str = ''
    device: str = ''

    @classmethod
    def find(cls, device: str = AUTO, compute_capability: str | None = None) -> BuildTarget:
        """Return the GPU here that ``device`` names, or those elsewhere of a compute capability.

        Raises:
            BackendError: there is no such GPU, or no TensorRT that builds for it.

        """
        if compute_capability is not None:
            capability = ComputeCapability.parse(compute_capability)
            return cls(library_for_capability(capability), capability)
        gpu = find_gpu(device)
        library = library_for_gpu(gpu.capability)
        return cls(library, gpu.capability, gpu.name, gpu.driver, gpu.device)


@dataclass(frozen=True)
class EngineSpec:
    """An engine that can be had: what it is built from, for what, and its name in the cache."""

    request: ServingRequest
    target: BuildTarget
    onnx: bytes

    @property
    def key(self) -> EngineKey:
        """The name in the cache."""
        package = self.target.library.package
        ahead = package.builds_ahead
        return EngineKey(
            onnx_sha256=hashlib.sha256(self.onnx).hexdigest(),
            library=package.module,
            version=self.target.library.version,
            # built ahead, it is the same engine for every GPU of the capability: one that was
            # built elsewhere for this capability is found
            gpu='' if ahead else self.target.gpu,
            compute_capability=str(self.target.capability),
            driver='' if ahead else self.target.driver,
            precision=self.request.gpu_precision,
            height=self.request.height,
            width=self.request.width,
            batch=self.request.batch,
        )

    def engine(self, cache: EngineCache) -> bytes:
        """Return the engine, from the cache or built.

        Raises:
            BackendError: see :func:`lemore_core.inference.tensorrt.builder.build`.

        """
        return cache.get_or_build(self.key, lambda: self._build(cache))

    def ensure(self, cache: EngineCache) -> None:
        """Have the engine in the cache: it is built unless it is there.

        Raises:
            BackendError: it cannot be built, or not be kept.

        """
        engine = self.engine(cache)
        if cache.read(self.key) is None:
            msg = (
                f'the engine ({len(engine) / MIB:.1f} MiB) was built but cannot be kept in '
                f'{cache.folder}: make room there, or let this user write there'
            )
            raise BackendError(msg)

    def _build(self, cache: EngineCache) -> bytes:
        request, target = self.request, self.target
        with torch.cuda.device(target.device) if target.device else nullcontext():
            built = build(
                target.library,
                self.onnx,
                (request.batch, request.height, request.width),
                target.capability,
                cache.read_timings(self.key),
            )
        if built.timings:
            cache.write_timings(self.key, built.timings)
        return built.engine


def find_spec(request: ServingRequest, target: BuildTarget) -> EngineSpec:
    """Export what is requested, which takes seconds.

    Raises:
        BackendError: the target has no such precision, or see
            :func:`lemore_core.inference.tensorrt.graph.engine_graph`.
        CheckpointError: the file is missing, damaged, or not LeMoRe's.

    """
    package = target.library.package
    if package.builds_ahead and target.capability < AMPERE and request.gpu_precision == FP32:
        msg = (
            f'{package.pip_name} multiplies no float32 matrices on compute capability '
            f'{target.capability}: use precision fp16'
        )
        raise BackendError(msg)
    return EngineSpec(request, target, engine_graph(request))
