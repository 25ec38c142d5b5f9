"""Export the serving graph to ONNX, with the checkpoint's card as metadata."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import inspect
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lemore_core import checkpoint
from lemore_core.common.child import serve_parent
from lemore_core.common.files import hash_of
from lemore_core.export import BATCH, DESCRIPTOR, LOGITS, STREET, ExportError, PrecisionError
from lemore_core.export.fold import ServingGraph, load_graph
from lemore_core.export.session import open_session
from lemore_core.images.files import read_image
from lemore_core.images.image import to_network

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 17
ORIGIN = 'exported_from'  # metadata: SHA-256 of the checkpoint
PACKAGES = ('onnx', 'onnxruntime')
# Share of the logits' range. Rounding makes some 1e-5 of it, and up to 2e-3 in a network of
# random weights, whose attention is at its steepest; a wrong operator makes far more.
LARGEST_DIFFERENCE, HALF_DIFFERENCE = 1e-2, 5e-2


def export_onnx(path: Path, height: int, width: int, *, half: bool = False) -> bytes:
    """Return the ONNX file of a checkpoint's serving graph for one network size.

    Input ``pixels`` (batch, height, width, 3) uint8 RGB; output ``logits`` (batch, height / 8,
    width / 8, classes) float32, sizes rounded up, and ``descriptor`` (batch, n) float32; the batch
    is open. The file's metadata is the checkpoint's card. ONNX Runtime's logits of real images are compared with PyTorch's. With
    ``half`` the network computes in half precision.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        ExportError: a package is not installed, or the file's logits are not the network's.
        PrecisionError: the network's numbers are too large for half precision.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            msg = f'export needs the package {package}: pip install {" ".join(PACKAGES)}'
            raise ExportError(msg)
    import onnx

    graph = load_graph(path, height, width)
    model = trace_onnx(copy.deepcopy(graph).halve() if half else graph, height, width)
    card = dataclasses.replace(checkpoint.read_card(path), config=graph.network.config)
    onnx.helper.set_model_props(model, card.to_metadata() | {ORIGIN: hash_of(path)})
    content = bytes(model.SerializeToString(deterministic=True))
    check_export(graph, content, street_images(height, width), half=half)
    return content


def trace_onnx(graph: ServingGraph, height: int, width: int) -> ModelProto:
    """Return a graph as an ONNX model with an open batch, without metadata."""
    import onnx

    # The other exporter needs onnxscript and gains nothing; torch 2.3 has no argument to choose.
    has_choice = 'dynamo' in inspect.signature(torch.onnx.export).parameters
    choice: dict[str, Any] = {'dynamo': False} if has_choice else {}
    with (
        tempfile.TemporaryDirectory(prefix='lemore-export-') as folder,
        warnings.catch_warnings(),
        torch.no_grad(),
    ):
        exported = str(Path(folder, 'graph.onnx'))
        warnings.simplefilter('ignore')
        torch.onnx.export(
            graph,
            (torch.zeros(1, height, width, 3, dtype=torch.uint8),),
            exported,
            input_names=['pixels'],
            output_names=[LOGITS, DESCRIPTOR],
            opset_version=OPSET,
            dynamic_axes={name: {0: BATCH} for name in ('pixels', LOGITS, DESCRIPTOR)},
            **choice,
        )
        model = onnx.load(exported)
    config = graph.network.config
    shapes = (*config.logit_size, config.classes), (config.descriptor,)
    for output, shape in zip(model.graph.output, shapes, strict=True):
        for side, known in zip(output.type.tensor_type.shape.dim[1:], shape, strict=True):
            side.dim_value = known  # the tracer does not derive it behind an open batch
    return model


def check_export(
    graph: ServingGraph, content: bytes, images: NDArray[np.uint8], *, half: bool = False
) -> None:
    """Compare the logits of an ONNX file for images (N, H, W, 3) uint8 with those of its graph."""
    session = open_session(content)
    (found,) = session.run([LOGITS], {'pixels': images})
    with torch.inference_mode():
        expected = graph(torch.from_numpy(images))[0].numpy()
    difference = float(np.abs(found - expected).max() / np.ptp(expected))
    allowed = HALF_DIFFERENCE if half else LARGEST_DIFFERENCE
    if difference <= allowed:  # NaN is not
        return
    share = f'{difference:.2g} of the range of its logits, {allowed:g} is allowed'
    msg = f'the exported network differs from PyTorch by {share}: '
    if half:
        msg += 'what it computes does not fit fp16, use fp32'
        raise PrecisionError(msg)
    import onnxruntime

    versions = f'torch {torch.__version__} and onnxruntime {onnxruntime.__version__}'
    msg += f'{versions} disagree about an operator'
    raise ExportError(msg)


def street_images(height: int, width: int) -> NDArray[np.uint8]:
    """Return a street and its left and right halves (3, height, width, 3)."""
    street = read_image(STREET)
    middle = street.shape[1] // 2
    parts = (street, street[:, :middle], street[:, middle:])
    return np.stack([to_network(part, 'rgb8', height, width) for part in parts])


def _export(order: dict[str, Any]) -> None:
    # Python does most of the work; waiting threads take minutes on a busy processor
    torch.set_num_threads(1)
    os.nice(order.pop('niceness'))
    path, output = Path(order.pop('path')), Path(order.pop('output'))
    # the parent removes this folder even if this process is killed
    tempfile.tempdir = str(output.parent)
    output.write_bytes(export_onnx(path, **order))


if __name__ == '__main__':
    sys.exit(serve_parent(_export))
