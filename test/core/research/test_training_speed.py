from __future__ import annotations

import re
from pathlib import Path

import pytest

from lemore_core.cli.main import main


def test_loading_is_timed_against_the_step(
    squares: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    fields = ['height=64', 'width=96', 'batch=4', 'save_every=5', 'validate_every=5']
    arguments = ['--data', str(squares), '--model', 'nano', '--workers', '0', '--steps', '2']
    assert main(['research', 'speed', '--recipe', 'camvid', *arguments, '--set', *fields]) == 0
    printed = dict(re.findall(r'^(\w+) +([\d.]+) ', capsys.readouterr().out, re.MULTILINE))
    loading, step, together, epoch = (
        float(printed[name]) for name in ('loading', 'step', 'together', 'epoch')
    )
    assert min(loading, step, together) > 0
    assert epoch == pytest.approx(8 / together, abs=0.06)
    assert not list(tmp_path.iterdir()), 'timing must leave nothing behind'
