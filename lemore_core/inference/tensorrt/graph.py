"""The serving graph as TensorRT gets it: an ONNX file of one precision and an open batch.

TensorRT builds in the precision that the file is in, so half precision is a matter of the file.
"""

from __future__ import annotations

from lemore_core.export.cache import cached_export
from lemore_core.export.model_card import read_model_card
from lemore_core.inference.backend import FP16, ServingRequest


def engine_graph(request: ServingRequest) -> bytes:
    """Return the ONNX file to build.

    Input ``pixels`` (batch, height, width, 3) uint8 RGB; output ``logits`` (batch, height / 8,
    width / 8, classes) float32, sizes rounded up. The same request gives the same bytes.

    Raises:
        PrecisionError: the checkpoint's numbers are too large for half precision.
        CheckpointError: the file is missing, damaged, or not LeMoRe's.
        ExportError: the export does not compute what the checkpoint does.

    """
    if request.is_exported:
        read_model_card(request.path)  # refuses a network of another kind
        return request.path.read_bytes()
    return cached_export(request.path, *request.size, half=request.gpu_precision == FP16)
