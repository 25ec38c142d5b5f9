from __future__ import annotations

import json
from pathlib import Path

import pytest

from lemore_core.checkpoint import read_card
from lemore_core.cli.main import main

STEPS = ['height=64', 'width=96', 'batch=4', 'iterations=2', 'validate_every=2', 'save_every=2']


def test_every_drive_is_held_out_once_and_no_run_repeated(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ['--recipe', 'camvid', '--model', 'nano', '--workers', '0', '--set', *STEPS]
    arguments = ['cross-validate', '--data', str(squares), '-o', str(tmp_path), *run, '--json']
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    # names without a drive: the folders are the drives
    assert [(fold['drive'], fold['images']) for fold in found['folds']] == [
        ('train', 8),
        ('val', 4),
    ]
    ious = [fold['figures']['mean_iou'] for fold in found['folds']]
    assert found['mean_iou'] == pytest.approx(sum(ious) / 2)
    card = read_card(tmp_path / 'val' / 'last.safetensors')
    assert card.metrics['split'] == 'drive val'
    assert card.training['recipe']['hold_out'] == 'val'

    written = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob('run.safetensors'))]
    assert main(arguments) == 0
    again = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob('run.safetensors'))]
    assert written == again
