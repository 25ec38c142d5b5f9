"""Networks to build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lemore_core import checkpoint
from lemore_core.checkpoint import ModelCard
from lemore_core.export.export import write_onnx
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import variant
from lemore_core.taxonomy import load_taxonomy


@pytest.fixture(scope='session')
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Return a function that writes an untrained network of a size and a dataset."""
    folder = tmp_path_factory.mktemp('networks')

    def make(size: str, dataset: str) -> Path:
        path = folder / f'{size}_{dataset}.safetensors'
        if not path.exists():
            torch.manual_seed(0)
            taxonomy = load_taxonomy(dataset)
            config = variant(size, classes=len(taxonomy.classes), height=128, width=128)
            card = ModelCard(name=size, config=config, taxonomy=taxonomy, licence='none')
            checkpoint.save(path, card, LeMoRe(config).state_dict())
        return path

    return make


@pytest.fixture(scope='session')
def exported(untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The untrained network as an ONNX file for 96x128, from which an engine is built sooner."""
    path = tmp_path_factory.mktemp('onnx') / 'untrained.onnx'
    write_onnx(untrained_checkpoint, path, 96, 128)
    return path
