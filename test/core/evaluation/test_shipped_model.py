"""The shipped checkpoint against the data it was trained for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lemore_core import checkpoint
from lemore_core.data.origin import read_origin
from lemore_core.segmenter import resolve_checkpoint
from lemore_core.taxonomy import load_taxonomy

SOURCES = Path(__file__).parents[3] / 'config' / 'distill'
# on so many images of CamVid's validation split, the least mIoU that each must have
SHIPPED = {'nano': (101, 0.58), 'tiny': (10, 0.70), 'small': (10, 0.65)}


@pytest.mark.parametrize('model', SHIPPED)
def test_the_card_is_complete(model: str) -> None:
    card = checkpoint.read_card(resolve_checkpoint(model, 'camvid'))
    assert card.taxonomy.name == 'camvid'
    assert (card.config.height, card.config.width) == (360, 480)
    assert 'CC BY-NC 4.0' in card.licence
    # weights that were trained on every image have no figure of a validation
    judged = card.metrics['split'] == 'val'
    assert judged or 'mean_iou' not in card.metrics
    assert {'recipe', 'versions', 'step'} <= card.training.keys()
    assert re.fullmatch('[0-9a-f]{40}', card.training['versions']['commit'])
    assert resolve_checkpoint(model, 'camvid').stat().st_size < 8e6


@pytest.mark.parametrize('model', ['nano', 'tiny'])
@pytest.mark.parametrize(
    ('dataset', 'sources'), [('cityscapes', 'street'), ('camvid', 'camvid_from_street')]
)
def test_a_street_model_names_its_sources_and_its_teacher(
    dataset: str, sources: str, model: str
) -> None:
    card = checkpoint.read_card(resolve_checkpoint(model, dataset))
    assert card.taxonomy.classes == load_taxonomy(dataset).classes
    assert 'mean_iou' not in card.metrics  # a teacher's labels judge nothing
    listed = read_origin(SOURCES / f'{sources}.yaml').sources
    learned = [one.path for one in listed if one.drive != 'lund']  # which is held out
    assert [one['path'] for one in card.training['sources']] == learned
    assert card.training['teacher']['licence'].startswith('Apache-2.0')
    assert 'CC BY-NC 4.0' in card.licence
    assert card.scenes is not None


@pytest.mark.parametrize('model', SHIPPED)
def test_it_segments_the_validation_split(model: str, camvid: Path, lemore: Any) -> None:
    size = ['--height', '360', '--width', '480']
    images, least = SHIPPED[model]
    data = ['--data', str(camvid), '--dataset', 'camvid', '--split', 'val']
    arguments = ['--model', model, *data, '--limit', str(images), *size, '--json']
    values = lemore('evaluate', *arguments).json()
    card = checkpoint.read_card(resolve_checkpoint(model, 'camvid'))
    assert values['images'] == images
    assert values['mean_iou'] >= least
    if card.metrics['split'] == 'val' and images == 101:
        # the card's figure was taken in single precision; the file holds half
        assert values['mean_iou'] == pytest.approx(card.metrics['mean_iou'], abs=0.002)
