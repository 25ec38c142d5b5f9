"""Reads what a servable file says about itself, without the packages that run it."""

from __future__ import annotations

from pathlib import Path

from lemore_core import checkpoint
from lemore_core.checkpoint import CheckpointError, ModelCard
from lemore_core.export.onnx_metadata import read_metadata


def read_model_card(path: Path) -> ModelCard:
    """Return the card of a checkpoint, or of an ONNX file exported from one.

    Raises:
        CheckpointError: the file is missing, damaged, or not LeMoRe's.

    """
    if path.suffix != '.onnx':
        return checkpoint.read_card(path)
    try:
        metadata = read_metadata(path)
    except (OSError, ValueError) as error:
        msg = f'{path} is no readable ONNX file: {error}'
        raise CheckpointError(msg) from error
    if 'format' not in metadata:
        msg = (
            f'{path} does not describe itself: write a file that does, with '
            f'lemore import {path} --classes CLASSES.yaml --output NEW.onnx'
        )
        raise CheckpointError(msg)
    return ModelCard.from_metadata(metadata, str(path))
