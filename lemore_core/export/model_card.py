"""Read the card of a servable file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from lemore_core import checkpoint
from lemore_core.checkpoint import CheckpointError, ModelCard
from lemore_core.common.errors import in_one_line


def read_model_card(path: Path) -> ModelCard:
    """Return the card of a checkpoint, or of an ONNX file exported from one."""
    if path.suffix != '.onnx':
        return checkpoint.read_card(path)
    try:
        metadata = _metadata(path.read_bytes())
    except Exception as error:  # the readers' exceptions share no other base
        msg = f'{path} is no readable ONNX file: {in_one_line(error)}'
        raise CheckpointError(msg) from error
    if 'format' not in metadata:
        msg = (
            f'{path} does not describe itself: write a file that does, with '
            f'lemore import {path} --classes CLASSES.yaml --output NEW.onnx'
        )
        raise CheckpointError(msg)
    return ModelCard.from_metadata(metadata, str(path))


def require_finite_weights(path: Path) -> None:
    """Refuse an ONNX file with NaN weights, if the package onnx is installed."""
    if importlib.util.find_spec('onnx') is None:
        return
    import numpy as np
    import onnx

    try:
        weights = onnx.load(path).graph.initializer
    except Exception:  # noqa: BLE001 - read_model_card reports it
        return
    for one in weights:
        values = onnx.numpy_helper.to_array(one)
        # infinities may be meant, as in masks of attention; NaN may vanish in a ReLU
        if values.dtype.kind == 'f' and np.isnan(values.sum(dtype=np.float64)):
            msg = f'{path}: the weights {one.name} hold NaN: the training diverged'
            raise CheckpointError(msg)


def _metadata(content: bytes) -> dict[str, str]:
    if importlib.util.find_spec('onnxruntime') is None:
        import onnx

        model = onnx.load_from_string(content)
        return {entry.key: entry.value for entry in model.metadata_props}
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # errors are raised
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    return dict(session.get_modelmeta().custom_metadata_map)
