from __future__ import annotations

import json
from typing import Any

import pytest

from lemore_core.cli.main import main


def measured(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the rows that ``lemore research`` prints as JSON."""
    assert main(['research', *arguments, '--repeats', '2', '--json']) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)['rows']
    return rows


def test_decodings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr('lemore_core.research.random_model.MODEL', 'nano')
    monkeypatch.setattr('lemore_core.research.decoding.DECODINGS', (('ade20k', (64, 96)),))
    (many,) = measured(['decoding', '--model', 'nano'], capsys)
    assert (many['logits'], many['labels']) == ('12x8x150', '96x64')
    assert many['decode_over_network'] == pytest.approx(
        many['decode_ms']['median'] / many['network_ms']['median']
    )


def test_foldings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr('lemore_core.research.random_model.MODEL', 'nano')
    monkeypatch.setattr('lemore_core.research.folding.SIZE', (64, 64))
    rows = measured(['folding'], capsys)
    names = [row['name'] for row in rows]
    assert names == ['plain', 'folded', 'folded, fusion_at_head']
    assert rows[0]['ratio'] == 1


def test_a_package_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None if name == 'onnx' else name)
    assert main(['research', 'folding']) == 1
    assert 'pip install onnx\n' in capsys.readouterr().err
