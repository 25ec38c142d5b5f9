from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from lemore_core import checkpoint
from lemore_core.checkpoint import CheckpointError
from lemore_core.evaluation.scenes import auroc
from lemore_core.export.onnx_file import read_model_card
from lemore_core.familiarity import (
    UNFAMILIAR,
    SceneLog,
    SceneStatistics,
    StatisticsError,
    calibrated,
    fit_temperature,
    folds_of,
)
from lemore_core.segmentation import Segmentation, Timings
from lemore_core.segmenter import Segmenter, resolve_checkpoint

RANDOM = np.random.default_rng(0)
CONFIDENCE = np.full((8, 8), 200, np.uint8)
PLAIN = Segmentation(CONFIDENCE, CONFIDENCE, (8, 8), Timings(1.0))


def images(number: int, centre: float = 0.0) -> np.ndarray:
    return RANDOM.normal(centre, 1, (number, 12)).astype(np.float32)


def test_a_scene_is_compared_with_drives_that_were_left_out() -> None:
    drives = {'a': images(50), 'b': images(60), 'c': images(70), 'd': images(8)}
    statistics = SceneStatistics.of(drives)
    # three groups of drives, the smallest drive beside the smallest group
    assert statistics.held_out == ('c', 'b', 'a, d')
    assert [len(held) for _, held in folds_of(drives).values()] == [70, 60, 58]
    judge = statistics.judge
    ordinary, other = (
        [judge(dataclasses.replace(PLAIN, descriptor=one)).familiarity for one in images(200, at)]
        for at in (0.0, 3.0)
    )
    # as familiar as any: every quantile is as frequent as any other
    assert np.mean(ordinary) == pytest.approx(0.5, abs=0.07)
    assert max(other) < UNFAMILIAR
    assert judge(dataclasses.replace(PLAIN, descriptor=np.full(12, np.nan))).familiarity == 0
    # drives that were not trained on are the better ones to compare with
    assert SceneStatistics.of(drives, ['d']).held_out == ('d',)
    assert SceneStatistics.of({'a': images(9)}).held_out == ('part 1', 'part 2', 'part 3')
    with pytest.raises(StatisticsError, match='1 images are too few to compare with'):
        SceneStatistics.of({'a': images(1)})


def test_what_is_unknown_is_absent() -> None:
    statistics = SceneStatistics.of({'a': images(9)})
    found = statistics.judge(PLAIN)
    assert (found.familiarity, found.sureness) == (None, None)
    sure = dataclasses.replace(statistics, temperature=1.0).judge(PLAIN).sureness
    assert sure == pytest.approx(200 / 255, abs=1e-3)
    with pytest.raises(StatisticsError, match='another network: of 12 numbers, it gives 5'):
        statistics.judge(dataclasses.replace(PLAIN, descriptor=np.zeros(5)))
    log = SceneLog()
    log.add('nothing', PLAIN)
    assert (log.unfamiliar, str(log)) == ([], 'familiarity is unknown')
    for name, share in (('first', 0.5), ('second', 0.0), ('third', 0.01)):
        log.add(name, dataclasses.replace(PLAIN, familiarity=share, sureness=0.9))
    assert str(log) == (
        'familiarity 0.01 in the median, mean confidence 0.90; 2 of 3 images are unlike the '
        'training data (familiarity below 0.05), from second to third'
    )


@pytest.mark.parametrize('temperature', [0.5, 1.0, 2.5])
def test_confidence_is_calibrated_by_one_temperature(temperature: float) -> None:
    counts = np.full(256, 10**6)
    hits = np.round(counts * calibrated(temperature)).astype(np.int64)
    assert fit_temperature(counts, hits) == pytest.approx(temperature, rel=0.02)
    assert fit_temperature(0 * counts, 0 * hits) is None
    assert auroc(np.array([1.0, 2]), np.array([1.0, 0])) == 0.875


@pytest.mark.parametrize('suffix', ['.safetensors', '.onnx'])
def test_statistics_are_stored_and_everything_else_is_kept(
    untrained_checkpoint: Path, exported: Path, tmp_path: Path, suffix: str
) -> None:
    before = exported if suffix == '.onnx' else untrained_checkpoint
    path = tmp_path / f'network{suffix}'
    shutil.copy(before, path)
    wide = {name: RANDOM.normal(size=(4, 416)) for name in 'ab'}
    statistics = dataclasses.replace(SceneStatistics.of(wide), temperature=0.8)
    checkpoint.store_scenes(path, statistics)
    card = read_model_card(path)
    assert card.scenes == statistics
    assert dataclasses.replace(card, scenes=None) == read_model_card(before)
    image = RANDOM.integers(0, 256, (96, 128, 3), np.uint8)
    backend = 'onnxruntime' if suffix == '.onnx' else 'torch'
    old, new = (Segmenter.load(p, backend=backend).segment(image) for p in (before, path))
    np.testing.assert_array_equal(new.labels, old.labels)
    assert (old.familiarity, old.sureness) == (None, None)
    assert new.familiarity is not None
    assert new.sureness is not None
    if suffix == '.safetensors':
        tensors, kept = load_file(before), load_file(path)
        assert all(np.array_equal(tensors[name], kept[name]) for name in tensors)
    with pytest.raises(CheckpointError, match='another network: of descriptors of 12 numbers'):
        checkpoint.store_scenes(path, SceneStatistics.of({'a': images(9)}))
    assert read_model_card(path).scenes == statistics


def test_the_shipped_network_knows_its_street_and_no_covered_lens() -> None:
    segmenter = Segmenter.load(resolve_checkpoint('nano'))
    covered = segmenter.segment(np.full((360, 480, 3), 40, np.uint8))
    assert covered.familiarity == 0
    assert covered.sureness is not None


FOLD = '"mean": [0.0], "scale": [1.0], "distances": [1.0]'


@pytest.mark.parametrize(
    'text',
    [
        '7',
        '{"images": 1}',
        '{"folds": [], "images": 1}',
        f'{{"folds": [{{{FOLD}}}], "images": 1}}',
        f'{{"folds": [{{{FOLD}}}], "images": 0}}',
        '{"folds": [{"mean": [NaN], "scale": [0], "distances": ["x"]}], "images": 1}',
    ],
)
def test_malformed_statistics_are_refused(untrained_checkpoint: Path, text: str) -> None:
    metadata = checkpoint.read_card(untrained_checkpoint).to_metadata()
    with pytest.raises(CheckpointError, match=r'^it: '):
        checkpoint.ModelCard.from_metadata(metadata | {'scenes': text}, 'it')
