"""Build a TensorRT engine from an ONNX file."""

from __future__ import annotations

import importlib
import logging
from functools import cache
from typing import Any

from lemore_core.export import DESCRIPTOR, LOGITS
from lemore_core.inference.backend import BackendError, how_to_install

INPUT = 'pixels'
WORKSPACE = 512 << 20  # bytes
OLDEST = 10  # major version

_log = logging.getLogger(__name__)


class EngineRejectedError(BackendError):
    """An engine whose labels differ from its network's."""


def load_tensorrt() -> Any:
    """Import TensorRT."""
    try:
        api = importlib.import_module('tensorrt')
    except (ImportError, OSError) as error:
        remedy = f'install it again: {how_to_install("tensorrt")}'
        msg = f'tensorrt cannot be imported ({error}), {remedy}'
        raise BackendError(msg) from error
    if int(api.__version__.split('.')[0]) < OLDEST:
        msg = f'tensorrt {api.__version__} is too old, {OLDEST} or newer is needed'
        raise BackendError(msg)
    return api


def build(api: Any, onnx: bytes, shape: tuple[int, int, int]) -> bytes:
    """Build the engine of a serving graph for the current CUDA device, in its ONNX file's types.

    ``api`` is the module ``tensorrt``. ``shape`` is (batch, height, width); where the file's batch
    is open, the engine takes up to ``batch`` images, and its kernels are chosen for that many.
    """
    logger = logger_of(api)
    logger.forget()
    try:
        builder = api.Builder(logger)
    except TypeError as error:  # raised by the bindings for a null pointer
        msg = f'{api.__name__} cannot build here: {logger.reason()}'
        raise BackendError(msg) from error
    network = _parse(api, builder, logger, onnx)
    _fix_edges(api, network, shape)
    config = builder.create_builder_config()
    if hasattr(api.BuilderFlag, 'TF32'):
        # the default, with a mantissa of 10 bits
        config.clear_flag(api.BuilderFlag.TF32)
    # the default is all memory, which a Jetson shares with the CPU
    config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, WORKSPACE)
    if network.get_input(0).shape[0] == -1:
        profile = builder.create_optimization_profile()
        one, full = ((count, *shape[1:], 3) for count in (1, shape[0]))
        profile.set_shape(INPUT, one, full, full)
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        msg = f'{api.__name__} {api.__version__} built no engine: {logger.reason()}'
        raise BackendError(msg)
    return bytes(engine)


@cache
def logger_of(api: Any) -> Any:
    """Return the only logger of a library, which keeps the first: logs, and keeps errors."""
    severity = api.ILogger.Severity
    errors: list[str] = []

    class Logger(api.ILogger):  # type: ignore[misc]
        def forget(self) -> None:
            """Drop the errors of earlier work."""
            errors.clear()

        def reason(self) -> str:
            """Return the first error, the cause of the others."""
            return errors[0] if errors else 'it gives no reason'

        def log(self, level: Any, message: str) -> None:
            # the caller raises errors
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                errors.append(' '.join(message.split()))
            shown = level not in (severity.INFO, severity.VERBOSE)
            _log.log(logging.INFO if shown else logging.DEBUG, 'TensorRT: %s', message)

    return Logger()


def _parse(api: Any, builder: Any, logger: Any, onnx: bytes) -> Any:
    # networks of TensorRT 11 are always strongly typed, and it may lack the flag
    flag = getattr(api.NetworkDefinitionCreationFlag, 'STRONGLY_TYPED', None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = api.OnnxParser(network, logger)
    if parser.parse(onnx):
        return network
    reason = logger.reason()
    if parser.num_errors:
        error = parser.get_error(0)
        reason = ' '.join(error.desc().split())
        if operator := error.node_operator():
            name = error.node_name() or f'number {error.node()}'
            reason = f'node {name} ({operator}): {reason}'
    msg = f'{api.__name__} {api.__version__} cannot parse the network: {reason}'
    raise BackendError(msg)


def _fix_edges(api: Any, network: Any, shape: tuple[int, int, int]) -> None:
    batch, height, width = shape
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    found = [', '.join(f'{t.name} {t.dtype.name}' for t in ports) for ports in (inputs, outputs)]
    wanted = [f'{INPUT} {api.uint8.name}', f'{LOGITS} {api.float32.name}']
    described = [wanted[0], f'{wanted[1]}, {DESCRIPTOR} {api.float32.name}']
    if found not in (wanted, described):
        maps, needed = ' to '.join(found), ' to '.join(wanted)
        msg = f'the network maps {maps}, not {needed}: it is no serving graph'
        raise BackendError(msg)
    count, *rest = inputs[0].shape
    if count not in (batch, -1) or rest != [height, width, 3]:
        taken, shape_given = tuple(inputs[0].shape), (batch, height, width, 3)
        remedy = 'export it for that size and batch'
        msg = f'the network takes pixels of shape {taken}, not {shape_given}: {remedy}'
        raise BackendError(msg)
    # without open dimensions, kernels are faster
    inputs[0].shape = (1 if batch == 1 else count, height, width, 3)
