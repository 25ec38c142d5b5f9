"""Half precision for exported networks: everything inside it, nothing at their edges."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from lemore_core.errors import LemoreError

HALF = 'fp16'


class PrecisionError(LemoreError):
    """Numbers that half precision does not hold."""


def halved(content: bytes) -> bytes:
    """Return an ONNX file of float32 in half precision; see :func:`to_half`."""
    model = onnx.load_from_string(content)
    to_half(model)
    return bytes(model.SerializeToString())


def to_half(model: onnx.ModelProto) -> None:
    """Convert a float32 model to half precision inside; inputs and outputs stay what they are.

    Raises:
        PrecisionError: a number is beyond what half precision holds.

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
        msg = f'{tensor.name or "a constant"} holds {largest:g}, too large for fp16: use fp32'
        raise PrecisionError(msg)
    return numpy_helper.from_array(halves, tensor.name)


def _cast_outputs(graph: onnx.GraphProto) -> None:
    for output in graph.output:
        if output.type.tensor_type.elem_type != TensorProto.FLOAT:
            continue
        inside = f'{output.name}_{HALF}'
        for node in graph.node:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == output.name:
                        names[i] = inside
        graph.node.append(
            onnx.helper.make_node('Cast', [inside], [output.name], to=TensorProto.FLOAT)
        )
