"""ONNX file to engine, by TensorRT or TensorRT for RTX."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from lemore_core.inference.backend import BackendError
from lemore_core.inference.tensorrt.libraries import ComputeCapability, Library

INPUT, OUTPUT = 'pixels', 'logits'
WORKSPACE = 512 << 20  # bytes
_SHOWN = 5

_log = logging.getLogger(__name__)


def build(
    library: Library,
    onnx: bytes,
    shape: tuple[int, int, int],
    capability: ComputeCapability,
) -> bytes:
    """Build the engine of a serving graph, typed as its ONNX file is.

    ``shape`` is (batch, height, width), to which an open batch is fixed: kernels are faster where
    every shape is known. TensorRT itself builds for the current CUDA device, whose capability the
    caller gives.

    Raises:
        BackendError: the file has nodes that TensorRT does not take, is no serving graph of this
            shape, or cannot be built.
    """
    api = library.api
    logger = logger_of(library)
    logger.forget()
    try:
        builder = api.Builder(logger)
    except TypeError as error:  # what its bindings make of a null pointer
        msg = f'{library.pip_name} cannot build here: {logger.reason()}'
        raise BackendError(msg) from error
    network = _parse(library, builder, logger, onnx)
    config = builder.create_builder_config()
    _clear_tf32(api, config)
    _fix_edges(api, network, shape)
    # where memory is shared, as on a Jetson, the default is all of it
    config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, WORKSPACE)
    if library.builds_ahead:
        _name_capability(library, config, capability)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        msg = f'{library.pip_name} {library.version} built no engine: {logger.reason()}'
        raise BackendError(msg)
    return bytes(engine)


@cache
def logger_of(library: Library) -> Any:
    """Return the one logger of a library: it passes on to ``logging`` and keeps errors.

    A process has one because the library goes on with the first that it was given.
    """
    severity = library.api.ILogger.Severity
    errors: list[str] = []

    class Logger(library.api.ILogger):  # type: ignore[misc, name-defined]
        def forget(self) -> None:
            """Drop the errors of what was done before."""
            errors.clear()

        def reason(self) -> str:
            """Return the first error, from which the rest follow."""
            return errors[0] if errors else 'it gives no reason'

        def log(self, level: Any, message: str) -> None:
            # whoever called raises errors with their reason: said once is enough
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                errors.append(' '.join(message.split()))
            shown = level not in (severity.INFO, severity.VERBOSE)
            _log.log(logging.INFO if shown else logging.DEBUG, 'TensorRT: %s', message)

    return Logger()


def _parse(library: Library, builder: Any, logger: Any, onnx: bytes) -> Any:
    api = library.api
    # TensorRT 11 knows only networks that are strongly typed, and may know no flag for it
    flag = getattr(api.NetworkDefinitionCreationFlag, 'STRONGLY_TYPED', None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = api.OnnxParser(network, logger)
    if not parser.parse(onnx):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        msg = f'{library.pip_name} {library.version} cannot parse the network: '
        msg += '; '.join(map(_describe, errors[:_SHOWN])) or logger.reason()
        if len(errors) > _SHOWN:
            msg += f'; and {len(errors) - _SHOWN} more'
        raise BackendError(msg)
    return network


def _describe(error: Any) -> str:
    reason = ' '.join(error.desc().split())
    operator = error.node_operator()
    if not operator:
        return reason
    name = error.node_name() or f'number {error.node()}'
    return f'node {name} ({operator}): {reason}'


def _fix_edges(api: Any, network: Any, shape: tuple[int, int, int]) -> None:
    batch, height, width = shape
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    found = [(t.name, t.dtype) for t in inputs + outputs]
    if found != [(INPUT, api.uint8), (OUTPUT, api.float32)]:
        msg = (
            f'the network maps {", ".join(f"{t.name} {t.dtype.name}" for t in inputs)} to '
            f'{", ".join(f"{t.name} {t.dtype.name}" for t in outputs)}, not {INPUT} UINT8 to '
            f'{OUTPUT} FLOAT: it is no serving graph'
        )
        raise BackendError(msg)
    count, *rest = inputs[0].shape
    if count not in (batch, -1) or rest != [height, width, 3]:
        msg = (
            f'the network takes pixels of shape {tuple(inputs[0].shape)}, '
            f'not {(batch, height, width, 3)}: export it for that size and batch'
        )
        raise BackendError(msg)
    inputs[0].shape = (batch, height, width, 3)


def _name_capability(library: Library, config: Any, capability: ComputeCapability) -> None:
    library.check(capability)
    name = f'SM{capability.major}{capability.minor}'
    config.num_compute_capabilities = 1
    config.set_compute_capability(library.api.ComputeCapability.__members__[name], 0)


def _clear_tf32(api: Any, config: Any) -> None:
    # set by default on TensorRT, where fp32 would have a mantissa of 10 bits
    flag = getattr(api.BuilderFlag, 'TF32', None)
    if flag is not None:
        config.clear_flag(flag)
