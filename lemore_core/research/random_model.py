"""Models that nobody trained, for figures that do not depend on the weights."""

from __future__ import annotations

from pathlib import Path

import torch

from lemore_core import checkpoint
from lemore_core.checkpoint import ModelCard
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import variant
from lemore_core.taxonomy import load_taxonomy

MODEL = 'tiny'


def random_checkpoint(path: Path, dataset: str, size: tuple[int, int], **switches: bool) -> Path:
    """Write tiny for ``size`` (height, width) and a data set's classes; return the path.

    ``switches`` are those of :func:`~lemore_core.model.variants.variant`.
    """
    taxonomy = load_taxonomy(dataset)
    height, width = size
    config = variant(MODEL, classes=len(taxonomy.classes), height=height, width=width, **switches)
    torch.manual_seed(0)
    card = ModelCard(name='random', config=config, taxonomy=taxonomy, licence='none')
    checkpoint.save(path, card, LeMoRe(config).state_dict())
    return path
