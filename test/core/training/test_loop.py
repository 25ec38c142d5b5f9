from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from lemore_core import checkpoint
from lemore_core.cli.main import main
from lemore_core.segmenter import Segmenter
from lemore_core.training.config import TrainingConfig
from lemore_core.training.loop import class_weights, train


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of a red square (car) on green ground (road), laid out as CamVid."""
    root = tmp_path_factory.mktemp('data')
    random = np.random.default_rng(0)
    for split, count in (('train', 8), ('val', 4)):
        (root / split).mkdir()
        (root / f'{split}annot').mkdir()
        for i in range(count):
            mask = np.full((64, 96), 3, np.uint8)
            y, x = random.integers(0, 30), random.integers(0, 50)
            mask[y : y + 32, x : x + 40] = 8
            image = np.where(mask[..., None] == 8, (30, 30, 220), (90, 170, 90))
            image += random.integers(-20, 20, image.shape)
            cv2.imwrite(str(root / split / f'{i}.png'), image.astype(np.uint8))
            cv2.imwrite(str(root / f'{split}annot' / f'{i}.png'), mask)
    return root


def test_a_network_learns_and_its_checkpoint_is_served(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    config = TrainingConfig(
        data,
        tmp_path,
        'nano',
        height=64,
        width=96,
        epochs=60,
        batch=4,
        warmup=10,
        rate=5e-3,
        evaluate_every=20,
    )
    best = train(config, lines.append)
    losses = [float(re.search(r'loss ([\d.]+)', line)[1]) for line in lines]  # type: ignore[index]
    assert len(losses) == 60
    assert losses[-1] < 0.5 * losses[0]
    card = checkpoint.read_card(best)
    assert card.metrics['iou']['car'] > 0.5
    assert card.licence.startswith('CC BY-NC 4.0')
    assert card.training['seed'] == '0'
    assert str(tmp_path) not in str(card.to_metadata())
    image = cv2.imread(str(data / 'val' / '0.png'))
    assert image is not None
    labels = Segmenter.load(best, backend='torch', device='cpu').segment(image, 'bgr8').labels
    assert set(np.unique(labels)) >= {3, 8}

    assert main(['evaluate', '--model', str(best), '--data', str(data), '--json']) == 0
    assert '"images": 4' in capsys.readouterr().out


def test_rare_classes_weigh_more_and_pixels_one_on_average() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[:2, :5] = 1
    mask[9] = 255
    weights = class_weights([(np.zeros((10, 10, 3), np.uint8), mask)], 2)
    assert weights[1] / weights[0] == pytest.approx((80 / 10) ** 0.5)
    assert float(weights[0] * 80 + weights[1] * 10) / 90 == pytest.approx(1.0)
