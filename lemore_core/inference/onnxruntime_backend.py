"""Serve with ONNX Runtime, the fastest on a CPU by far."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lemore_core.common.errors import refusing
from lemore_core.common.files import read_regular
from lemore_core.common.memory import thread_counts
from lemore_core.export import BATCH, DESCRIPTOR, LOGITS
from lemore_core.export.onnx_file import cached_export, read_model_card
from lemore_core.export.session import open_session
from lemore_core.inference.backend import (
    AS_EXPORTED,
    AUTO,
    FP16,
    FP32,
    BackendError,
    ServingRequest,
    Status,
)
from lemore_core.inference.cpu.pipeline import CpuPipeline

TRIAL_SECONDS = 0.12
WORTHWHILE = 0.9
# the number of threads chosen by this process's first session, by the candidates
chosen_threads: dict[tuple[int, ...], int] = {}


class OnnxNetwork:
    """The serving graph as an ONNX Runtime session, one image per run.

    The first session of a process measures its number of threads, unless ``threads`` fixes it.
    """

    def __init__(self, content: bytes, source: str, *, threads: int | None = None) -> None:
        candidates = thread_counts()
        threads = threads or chosen_threads.get(candidates)
        with refusing(f'ONNX Runtime cannot load {source}', BackendError):
            sessions = {n: _session(content, n) for n in ([threads] if threads else candidates)}
            self.threads = threads or choose_threads(_measure(sessions))
        if threads is None:
            chosen_threads[candidates] = self.threads
        self._session = sessions[self.threads]

    def require_ports(self, size: tuple[int, int], classes: int, source: str) -> None:
        """Refuse a file whose input or output differs from its card."""
        inputs = [(port.name, port.type, port.shape) for port in self._session.get_inputs()]
        outputs = [(port.name, port.type, port.shape) for port in self._session.get_outputs()]
        pixels = [('pixels', 'tensor(uint8)', [1, *size, 3])]
        # older files, and most imported ones, have no descriptor
        expected = [(LOGITS, 'tensor(float)'), (DESCRIPTOR, 'tensor(float)')][: len(outputs) or 1]
        found = [port[:2] for port in outputs]
        if inputs != pixels or found != expected or outputs[0][2][-1] != classes:
            msg = (
                f'{source} has the input {inputs} and the output {outputs}, its card asks for '
                f'{pixels} and logits of {classes} classes: export or import it again'
            )
            raise BackendError(msg)

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Return the logits of ``pixels``, and the descriptors where the file has them."""
        with refusing('ONNX Runtime cannot run the network', BackendError):
            return tuple(self._session.run(None, {'pixels': pixels}))


def load(request: ServingRequest) -> CpuPipeline:
    """Load an exported ONNX file, or export a checkpoint (which needs torch) and load that."""
    if request.device not in ('cpu', AUTO):
        remedy = 'torch (checkpoints) or tensorrt (checkpoints and ONNX files), or device cpu'
        msg = f'onnxruntime runs on the CPU, not on device {request.device!r}: use backend {remedy}'
        raise BackendError(msg)
    if request.precision == FP16:
        msg = 'ONNX Runtime is slower in fp16 than in fp32 on a CPU: leave the precision at auto'
        raise BackendError(msg)
    path, classes = request.path, read_model_card(request.path).config.classes
    content = read_regular(path) if request.is_exported else cached_export(path, *request.size)
    network = OnnxNetwork(content, str(path))
    network.require_ports(request.size, classes, str(path))
    precision = AS_EXPORTED if request.is_exported else FP32
    status = Status('onnxruntime', 'cpu', precision, degraded=request.degraded)
    pipeline = CpuPipeline(network, request.size, classes, status)
    if request.is_exported:
        pipeline.logits(np.zeros((1, *request.size, 3), np.uint8))
    return pipeline


def choose_threads(times: Mapping[int, float]) -> int:
    """Return the smallest number of threads nearly as fast as the fastest, given their seconds."""
    # a thread for a few percent is worth more to the rest of a robot
    best = min(times.values())
    return min(n for n, seconds in times.items() if seconds * WORTHWHILE <= best)


def _measure(sessions: Mapping[int, Any]) -> dict[int, float]:
    """Return seconds of each session's shortest run: the first is slow, a booting robot busy."""
    times = dict.fromkeys(sessions, math.inf)
    shape = next(iter(sessions.values())).get_inputs()[0].shape
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    end, rounds = time.perf_counter() + TRIAL_SECONDS, 0
    while len(sessions) > 1 and (rounds < 2 or time.perf_counter() < end):
        rounds += 1
        for n, session in sessions.items():
            started = time.perf_counter()
            session.run([LOGITS], {'pixels': pixels})
            times[n] = min(times[n], time.perf_counter() - started)
    return times


def _session(content: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # spinning makes two threads a quarter faster for four times the processor time
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    # a CPU gains nothing from several images a run, and a quarter from fixed shapes
    options.add_free_dimension_override_by_name(BATCH, 1)
    return open_session(content, options)
