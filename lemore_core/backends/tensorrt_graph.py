"""The serving graph as TensorRT gets it: an ONNX file of one batch size and one precision.

TensorRT builds in the precision that the file is in, so half precision is a matter of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from lemore_core.backends.registry import AUTO, BackendError
from lemore_core.deploy.description import describe
from lemore_core.deploy.export import trace_onnx
from lemore_core.deploy.graph import load_graph

FLOAT32, FLOAT16, AS_EXPORTED = 'float32', 'float16', 'as exported'
PRECISIONS = (AUTO, FLOAT32, FLOAT16)
MAX_BATCH = 64


@dataclass(frozen=True)
class EngineRequest:
    """A file to serve, (height, width) of the network's input, and pictures a call.

    ``auto`` is half precision for a checkpoint; an ONNX file is built in the precision that it was
    exported in, be it quantised, and takes no other.
    """

    path: Path
    height: int
    width: int
    precision: str = AUTO
    batch: int = 1

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            msg = f'precision is {self.precision!r}, it must be one of {", ".join(PRECISIONS)}'
            raise BackendError(msg)
        if self.is_exported and self.precision != AUTO:
            msg = (
                f'{self.path} is built in the precision that it was exported in, '
                f'not in {self.precision}: leave the precision at {AUTO}'
            )
            raise BackendError(msg)
        if not 1 <= self.batch <= MAX_BATCH:
            msg = f'batch is {self.batch}, it must be from 1 to {MAX_BATCH}'
            raise BackendError(msg)

    @property
    def is_exported(self) -> bool:
        """Whether the file is an ONNX file already."""
        return self.path.suffix == '.onnx'

    @property
    def built_precision(self) -> str:
        """The precision with ``auto`` resolved."""
        if self.is_exported:
            return AS_EXPORTED
        return FLOAT16 if self.precision == AUTO else self.precision


def engine_graph(request: EngineRequest) -> bytes:
    """Return the ONNX file to build.

    Input ``pixels`` (batch, height, width, 3) uint8 RGB; output ``logits`` (batch, height / 8,
    width / 8, classes) float32, sizes rounded up. The same request gives the same bytes.

    Raises:
        BackendError: the checkpoint's numbers are too large for half precision.
        CheckpointError: the file is missing, damaged, or not LeMoRe's.

    """
    if request.is_exported:
        describe(request.path)  # refuses a network of another kind
        return request.path.read_bytes()
    graph = load_graph(request.path, request.height, request.width)
    model = trace_onnx(graph, request.height, request.width, batch=request.batch)
    if request.built_precision == FLOAT16:
        to_half(model)
    return bytes(model.SerializeToString(deterministic=True))


def to_half(model: onnx.ModelProto) -> None:
    """Convert a float32 model to half precision inside; inputs and outputs stay what they are.

    Raises:
        BackendError: a number is beyond what half precision holds.

    """
    graph = model.graph
    kept = _resize_sizes(graph)
    for tensor in _tensors(graph, kept):
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(_half_tensor(tensor))
    for node in graph.node:
        for attribute in node.attribute:
            if (
                node.op_type == 'Cast'
                and attribute.name == 'to'
                and attribute.i == onnx.TensorProto.FLOAT
            ):
                attribute.i = TensorProto.FLOAT16
    del graph.value_info[:]
    _cast_outputs(graph)
    onnx.checker.check_model(model)
    # a float32 number that was left would meet a half one somewhere
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def _resize_sizes(graph: onnx.GraphProto) -> set[str]:
    # regions and scales of a Resize are float32 whatever it resizes
    return {name for node in graph.node if node.op_type == 'Resize' for name in node.input[1:]}


def _tensors(graph: onnx.GraphProto, kept: set[str]) -> Iterator[TensorProto]:
    """Iterate over the constants of a graph, those with a name in ``kept`` left out."""
    for tensor in graph.initializer:
        if tensor.name not in kept:
            yield tensor
    for node in graph.node:
        if not kept.intersection(node.output):
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    yield attribute.t


def _half_tensor(tensor: TensorProto) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    with np.errstate(over='ignore'):
        halves = values.astype(np.float16)
    if np.any(np.isfinite(values) & ~np.isfinite(halves)):
        largest = float(np.abs(values[np.isfinite(values)]).max())
        msg = f'{tensor.name or "a constant"} holds {largest:g}, too large for float16: use float32'
        raise BackendError(msg)
    return numpy_helper.from_array(halves, tensor.name)


def _cast_outputs(graph: onnx.GraphProto) -> None:
    for output in graph.output:
        if output.type.tensor_type.elem_type != TensorProto.FLOAT:
            continue
        inside = f'{output.name}_{FLOAT16}'
        for node in graph.node:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == output.name:
                        names[i] = inside
        graph.node.append(
            onnx.helper.make_node('Cast', [inside], [output.name], to=TensorProto.FLOAT)
        )
