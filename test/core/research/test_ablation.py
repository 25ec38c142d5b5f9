from __future__ import annotations

import re
from pathlib import Path

import pytest

from lemore_core.cli.main import main

STEPS = ['height=64', 'width=96', 'batch=4', 'iterations=2', 'validate_every=2', 'save_every=2']


def arguments(squares: Path, output: Path, *more: str) -> list[str]:
    paths = ['--data', str(squares), '-o', str(output), '--workers', '0']
    return [
        'research',
        'ablate',
        '--recipe',
        'camvid',
        *paths,
        '--model',
        'nano',
        '--set',
        *STEPS,
        *more,
    ]


def test_a_table_of_rows_is_printed_and_finished_rows_are_not_repeated(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ['--rows', 'T', 'T+F', 'fusion at head']
    assert main(arguments(squares, tmp_path, *rows)) == 0
    table = capsys.readouterr().out
    found = re.findall(r'^\| (.+) \| ([\d.]+) M \| ([\d.]+) \| ([\d.]+) \|$', table, re.MULTILINE)
    assert [row[0] for row in found] == ['T', 'T+F', 'fusion at head']
    small, wider, full = (float(row[1]) for row in found)
    assert small <= wider < full
    states = sorted(tmp_path.glob('*/run.safetensors'))
    assert [path.parent.name for path in states] == ['T+F-0', 'T-0', 'fusion_at_head-0']
    written = [path.stat().st_mtime_ns for path in states]

    assert main(arguments(squares, tmp_path, *rows)) == 0
    assert [path.stat().st_mtime_ns for path in states] == written
    assert re.search(r'^\| T \|.*$', capsys.readouterr().out, re.MULTILINE)


def test_an_unknown_row_is_named(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(squares, tmp_path, '--rows', 'T+X')) == 1
    assert "no rows ['T+X']" in capsys.readouterr().err
