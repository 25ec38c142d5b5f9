"""ONNX files of the serving graph, which say of themselves what a checkpoint says."""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from lemore_core import checkpoint
from lemore_core.export.errors import ExportError
from lemore_core.export.graph import ServingGraph, load_graph
from lemore_core.image import to_network
from lemore_core.image_file import read_image
from lemore_core.system.files import write_whole

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 17
PACKAGES = ('onnx', 'onnxruntime')
# Share of the logits' range. Rounding makes some 1e-5 of it, and up to 2e-3 in a network of
# random weights, whose attention is at its steepest; a wrong operator makes far more.
LARGEST_DIFFERENCE = 1e-2
# what the check looks at; its licence lies beside it
STREET = Path(str(resources.files('lemore_core.export') / 'street.jpg'))


def export_onnx(path: Path, height: int, width: int, *, folded: bool = True) -> bytes:
    """Return the ONNX file of a checkpoint's serving graph for one network size.

    Input ``pixels`` (1, height, width, 3) uint8 RGB; output ``logits`` (1, height / 8, width / 8,
    classes) float32, sizes rounded up. The file's metadata is the checkpoint's card. ONNX
    Runtime's logits of real images have been compared with PyTorch's. ``folded`` is as for
    :func:`~lemore_core.export.graph.load_graph`.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        ExportError: a package is not installed, or the file's logits are not the network's.

    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            msg = f'export needs the package {package}: pip install {" ".join(PACKAGES)}'
            raise ExportError(msg)
    import onnx

    graph = load_graph(path, height, width, folded=folded)
    model = trace_onnx(graph, height, width)
    card = checkpoint.read_card(path)
    card = dataclasses.replace(card, config=graph.network.config)
    onnx.helper.set_model_props(model, card.to_metadata())
    content = bytes(model.SerializeToString())
    check_export(graph, content, _images(height, width))
    return content


def trace_onnx(graph: ServingGraph, height: int, width: int, *, batch: int = 1) -> ModelProto:
    """Return a graph as an ONNX model for ``batch`` images of one size, without metadata."""
    import onnx

    with (
        tempfile.TemporaryDirectory(prefix='lemore-export-') as folder,
        warnings.catch_warnings(),
        torch.no_grad(),
    ):
        exported = Path(folder, 'graph.onnx')
        # torch announces its other exporter, which needs onnxscript and gains this graph nothing
        warnings.simplefilter('ignore')
        torch.onnx.export(
            graph,
            (torch.zeros(batch, height, width, 3, dtype=torch.uint8),),
            exported,
            input_names=['pixels'],
            output_names=['logits'],
            opset_version=OPSET,
            dynamo=False,
        )
        return onnx.load(exported)


def check_export(graph: ServingGraph, content: bytes, images: NDArray[np.uint8]) -> None:
    """Compare the logits of an ONNX file for images (N, H, W, 3) uint8 with those of its graph.

    Raises:
        ExportError: they differ by more than ``LARGEST_DIFFERENCE`` of their range.

    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    for image in images:
        (found,) = session.run(['logits'], {'pixels': image[None]})
        with torch.inference_mode():
            expected = graph(torch.from_numpy(image)[None]).numpy()
        difference = float(np.abs(found - expected).max() / np.ptp(expected))
        # negated, because NaN is no agreement either
        if not difference <= LARGEST_DIFFERENCE:
            msg = (
                f'the exported network differs from PyTorch by {difference:.2g} of the range of '
                f'its logits, {LARGEST_DIFFERENCE:g} is allowed: torch {torch.__version__} and '
                f'onnxruntime {onnxruntime.__version__} disagree about an operator'
            )
            raise ExportError(msg)


def write_onnx(
    path: Path,
    output: Path,
    height: int,
    width: int,
    *,
    calibration: Sequence[NDArray[np.uint8]] | None = None,
) -> None:
    """Write what :func:`export_onnx` returns, whole or not at all.

    With ``calibration``, images (H, W, 3) uint8 RGB of any size, the file is quantised: see
    :func:`lemore_core.export.quantize.quantise`.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        ExportError: see :func:`export_onnx`.
        QuantisationError: the images do not do, or the quantised network fails on them.

    """
    content = export_onnx(path, height, width)
    if calibration is not None:
        from lemore_core.export.quantize import quantise

        content = quantise(
            content, [to_network(image, 'rgb8', height, width) for image in calibration]
        )
    write_whole(output, content)


def _images(height: int, width: int) -> NDArray[np.uint8]:
    """Return a street as a camera sees it, and its left and right halves (3, height, width, 3)."""
    street = read_image(STREET)
    middle = street.shape[1] // 2
    parts = (street, street[:, :middle], street[:, middle:])
    return np.stack([to_network(part, 'rgb8', height, width) for part in parts])
