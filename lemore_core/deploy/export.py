"""ONNX files of the serving graph, which say of themselves what a checkpoint says."""

from __future__ import annotations

import dataclasses
import tempfile
import warnings
from pathlib import Path

import torch

from lemore_core import checkpoint
from lemore_core.deploy.graph import load_graph
from lemore_core.errors import LemoreError
from lemore_core.files import written_whole

OPSET = 17


class ExportError(LemoreError):
    """A network that cannot be exported."""


def export_onnx(path: Path, height: int, width: int) -> bytes:
    """Return the ONNX file of a checkpoint's serving graph for one network size.

    Input ``pixels`` (1, height, width, 3) uint8 RGB; output ``logits`` (1, height / 8, width / 8,
    classes) float32, sizes rounded up. The file's metadata is the checkpoint's card.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        ExportError: the package ``onnx`` is not installed.

    """
    try:
        import onnx
    except ImportError as error:
        msg = 'export needs the package onnx: pip install onnx'
        raise ExportError(msg) from error

    graph = load_graph(path, height, width)
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
            (torch.zeros(1, height, width, 3, dtype=torch.uint8),),
            exported,
            input_names=['pixels'],
            output_names=['logits'],
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(exported)
    card = checkpoint.read_card(path)
    card = dataclasses.replace(card, config=graph.network.config)
    onnx.helper.set_model_props(model, card.to_metadata())
    return bytes(model.SerializeToString())


def write_onnx(path: Path, output: Path, height: int, width: int) -> None:
    """Write what :func:`export_onnx` returns, whole or not at all."""
    content = export_onnx(path, height, width)
    with written_whole(output) as temporary:
        temporary.write_bytes(content)
