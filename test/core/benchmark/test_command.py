from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lemore_core.cli.main import main

SHORT = ['--sizes', '64x48', '--devices', 'cpu', '--backends', 'torch']


def measured(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the rows that ``lemore benchmark`` prints as JSON."""
    assert main(['benchmark', *arguments, '--json']) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)['rows']
    return rows


def test_steps(untrained_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ['--model', str(untrained_checkpoint), *SHORT]
    steps, batch = measured([*arguments, '--batches', '1,2', '--repeats', '2'], capsys)
    assert steps['kind'] == 'steps'
    assert (steps['image'], steps['network'], steps['calls']) == ('64x48', '128x96', 2)
    assert set(steps['steps_ms']) == {'prepare', 'network', 'decode'}
    assert steps['over_network'] > 1
    assert batch['batch'] == 2


def test_rates(
    untrained_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / 'rates.html'
    arguments = ['rate', '--model', str(untrained_checkpoint), *SHORT, '--report', str(report)]
    lengths = ['--rates', '5,20', '--seconds', '0.4', '--probe-seconds', '0.1']
    peak, slow, fast = measured([*arguments, *lengths], capsys)
    assert (peak['kind'], slow['kind']) == ('peak', 'rate')
    assert 1 <= peak['probes'] <= 32
    assert (slow['posted'], fast['posted']) == (2, 8)
    assert fast['segmented'] + fast['dropped'] == 8
    assert slow['name'] == peak['name']
    text = report.read_text(encoding='utf-8')
    # in the plot's legend, and the first cell of a row of each table
    assert text.count(peak['name']) >= 4
    assert re.search(r'"median",\[[\d.]+,[\d.]+', re.sub(r'\s', '', text))


def test_a_table(untrained_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ['--model', str(untrained_checkpoint), *SHORT, '--repeats', '2']
    assert main(['benchmark', *arguments]) == 0
    text = capsys.readouterr().out
    assert 'whole' in text
    assert 'CPU' in text


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--model', 'huge'], "no model is called 'huge'"),
        (['--backends', 'warp'], "backend is 'warp', allowed: one of auto"),
        (['--image', 'gone.png'], 'gone.png is no readable image or video'),
        (['--height', '64'], 'give both or neither'),
        (['rate', '--repeats', '3'], '--repeats is for steps, rate has no use for it'),
        (['--report', 'a.html'], '--report is for rate, steps has no use for it'),
        (['steps', '--images', '3'], '--images is for memory, steps has no use for it'),
        (
            ['memory', '--model', 'gone.safetensors', '--images', '5'],
            'there is no checkpoint gone.safetensors',
        ),
        (
            ['--backends', 'torch', '--devices', 'cpu', '--precisions', 'fp16'],
            'nothing can be measured: PyTorch is slower in fp16',
        ),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['benchmark', *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1


@pytest.mark.parametrize(
    'arguments',
    [
        ['--sizes', '640'],
        ['--sizes', '0x480'],
        ['--repeats', '0'],
        ['--rounds', '3'],
        ['--batches', '1,'],
        ['--models', 'tiny,'],
        ['rate', '--rates', '0'],
        ['rate', '--seconds', 'inf'],
        ['speed'],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(['benchmark', *arguments])
    assert stop.value.code == 2
