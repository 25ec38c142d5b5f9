"""The serving graph as TensorRT gets it: an ONNX file of one batch size and one precision.

TensorRT builds in the precision that the file is in, so half precision is a matter of the file.
"""

from __future__ import annotations

from lemore_core.export.export import trace_onnx
from lemore_core.export.graph import load_graph
from lemore_core.export.half_precision import to_half
from lemore_core.export.model_card import read_model_card
from lemore_core.inference.backend import FP16, ServingRequest


def engine_graph(request: ServingRequest) -> bytes:
    """Return the ONNX file to build.

    Input ``pixels`` (batch, height, width, 3) uint8 RGB; output ``logits`` (batch, height / 8,
    width / 8, classes) float32, sizes rounded up. The same request gives the same bytes.

    Raises:
        PrecisionError: the checkpoint's numbers are too large for half precision.
        CheckpointError: the file is missing, damaged, or not LeMoRe's.

    """
    if request.is_exported:
        read_model_card(request.path)  # refuses a network of another kind
        return request.path.read_bytes()
    graph = load_graph(request.path, request.height, request.width)
    model = trace_onnx(graph, request.height, request.width, batch=request.batch)
    if request.gpu_precision == FP16:
        to_half(model)
    return bytes(model.SerializeToString(deterministic=True))
