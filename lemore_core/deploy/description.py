"""Reads what a servable file says about itself, without the packages that run it."""

from __future__ import annotations

from pathlib import Path

from lemore_core import checkpoint
from lemore_core.checkpoint import CheckpointError, ModelCard


def describe(path: Path) -> ModelCard:
    """Return the card of a checkpoint, or of an ONNX file exported from one.

    Raises:
        CheckpointError: the file is missing, damaged, or not LeMoRe's.

    """
    if path.suffix != '.onnx':
        return checkpoint.read_card(path)
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    except Exception as error:  # the runtime's exceptions share no other base
        msg = f'{path} is no readable ONNX file: {str(error).splitlines()[0]}'
        raise CheckpointError(msg) from error
    return ModelCard.from_metadata(session.get_modelmeta().custom_metadata_map, str(path))
