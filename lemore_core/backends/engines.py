"""From a request to an engine on a GPU's terms, through the cache."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lemore_core.backends.backend import FP32, BackendError, ServingRequest
from lemore_core.backends.engine_cache import EngineCache, EngineKey
from lemore_core.backends.tensorrt_builder import build
from lemore_core.backends.tensorrt_flavours import ComputeCapability, Library
from lemore_core.backends.tensorrt_graph import engine_graph

AMPERE = ComputeCapability(8, 0)


@dataclass(frozen=True)
class Target:
    """What an engine is for.

    ``gpu`` and ``driver`` count only for a library that builds on the GPU at hand.
    """

    library: Library
    capability: ComputeCapability
    gpu: str = ''
    driver: str = ''


@dataclass(frozen=True)
class Plan:
    """An engine that can be had: what it is built from, for what, and its name in the cache."""

    request: ServingRequest
    target: Target
    onnx: bytes

    @property
    def key(self) -> EngineKey:
        """The name in the cache."""
        flavour = self.target.library.flavour
        ahead = flavour.builds_ahead
        return EngineKey(
            onnx_sha256=hashlib.sha256(self.onnx).hexdigest(),
            flavour=flavour.module,
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
            BackendError: see :func:`lemore_core.backends.tensorrt_builder.build`.

        """
        return cache.get_or_build(self.key, lambda: self._build(cache))

    def _build(self, cache: EngineCache) -> bytes:
        request, target = self.request, self.target
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


def plan(request: ServingRequest, target: Target) -> Plan:
    """Export what is requested, which takes seconds.

    Raises:
        BackendError: the target has no such precision, or see
            :func:`lemore_core.backends.tensorrt_graph.engine_graph`.
        CheckpointError: the file is missing, damaged, or not LeMoRe's.

    """
    flavour = target.library.flavour
    if flavour.builds_ahead and target.capability < AMPERE and request.gpu_precision == FP32:
        msg = (
            f'{flavour.package} multiplies no float32 matrices on compute capability '
            f'{target.capability}: use precision fp16'
        )
        raise BackendError(msg)
    return Plan(request, target, engine_graph(request))
