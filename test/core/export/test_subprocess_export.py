from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
from safetensors.numpy import load_file, save_file

from lemore_core.checkpoint import CheckpointError, read_card
from lemore_core.export.errors import ExportError
from lemore_core.export.export import export_onnx
from lemore_core.export.subprocess_export import export_in_subprocess


def test_it_exports_what_this_process_would(untrained_checkpoint: Path) -> None:
    apart, here = (
        onnx.load_from_string(export(untrained_checkpoint, 96, 128))
        for export in (export_in_subprocess, export_onnx)
    )
    assert apart.graph == here.graph
    assert apart.metadata_props == here.metadata_props


def test_what_goes_wrong_is_raised_here_as_it_was_there(
    untrained_checkpoint: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / 'damaged.safetensors'
    tensors = load_file(untrained_checkpoint)
    name, _ = tensors.popitem()
    save_file(tensors, damaged, metadata=read_card(untrained_checkpoint).to_metadata())
    with pytest.raises(CheckpointError, match=rf'tensor {re.escape(name)} is missing'):
        export_in_subprocess(damaged, 96, 128)
    with pytest.raises(ExportError, match='height is 8'):
        export_in_subprocess(untrained_checkpoint, 8, 128)
