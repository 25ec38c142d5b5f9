from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lemore_core.cli import taxonomy
from lemore_core.cli.main import COMMANDS, DEBUG, main

ROOT = Path(__file__).parents[3]


def test_info_prints_the_papers_network(capsys: pytest.CaptureFixture[str]) -> None:
    size = ['--height', '512', '--width', '512']
    assert main(['info', '--model', 'tiny', '--dataset', 'ade20k', *size, '--json']) == 0
    values = json.loads(capsys.readouterr().out)
    assert values['parameters'] == 1602582
    assert values['classes'] == 150
    assert values['gflops'] > values['gmacs'] > 0.7


def test_parts_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    without = [
        a for part in ('frontal', 'lateral', 'channel-attention') for a in ('--without', part)
    ]
    assert main(['info', '--dataset', 'ade20k', *without, '--json']) == 0
    assert json.loads(capsys.readouterr().out)['parameters'] == 1499958


def test_a_checkpoint_is_described(
    untrained_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['info', '--model', str(untrained_checkpoint)]) == 0
    assert 'untrained' in capsys.readouterr().out
    # a shipped size by its name, as a card for people
    assert main(['info', '--model', 'nano']) == 0
    card = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert card['classes'].startswith('11 of camvid: sky, building')
    assert card['cost'] == '0.355 M parameters, 0.156 GFLOPs at 480x360'
    assert card['licence'].startswith('CC BY-NC 4.0')
    assert '{' not in str(card.values())


def test_export_writes_a_file(
    untrained_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / 'new' / 'model.onnx'
    assert main(['export', '--model', str(untrained_checkpoint), '-o', str(output)]) == 0
    assert '128x96 pixels, 11 classes' in capsys.readouterr().out
    assert main(['info', '--model', str(output), '--json']) == 0
    assert json.loads(capsys.readouterr().out)['model'] == 'untrained'


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, '--help'])
    assert stop.value.code == 0
    assert COMMANDS[command] in ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['info', '--model', 'gone.safetensors'], 'there is no checkpoint gone.safetensors'),
        (['info', '--dataset', 'mars'], "no dataset is called 'mars'"),
        (['info', '--height', '64'], 'give both or neither'),
        (['export', '--model', 'huge', '-o', 'x.onnx'], "no model is called 'huge'"),
        (
            ['predict', __file__, '-o', 'x', '--precision', 'int8'],
            "precision is 'int8', allowed: one of",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith(f'lemore {arguments[0]}: ')
    assert error.count('\n') == 1


def test_no_traceback_whatever_a_command_raises(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raised: list[Exception] = []

    def fail(_: object) -> None:
        raise raised[-1]

    monkeypatch.setattr(taxonomy, 'run', fail)
    for error, status, message in (
        (OSError(28, 'No space left on device', 'out'), 1, 'out: No space left on device: make'),
        (PermissionError(13, 'Permission denied', 'out'), 1, 'out: Permission denied: write'),
        (ModuleNotFoundError("No module named 'av'", name='av.codec'), 1, 'pip install av'),
        (ModuleNotFoundError("No module named 'PIL'", name='PIL'), 1, 'pip install pillow'),
        (MemoryError(), 1, 'not enough memory'),
        (ValueError('two\nlines'), 70, 'ValueError: two lines (an error of lemore itself'),
        (BrokenPipeError(), 141, ''),
    ):
        raised.append(error)
        assert main(['taxonomy', 'export', 'camvid', '-o', 'x.json']) == status
        found = capsys.readouterr().err
        assert message in found
        assert found.count('\n') == bool(message)
    monkeypatch.setenv(DEBUG, '1')
    raised.append(ValueError('where'))
    with pytest.raises(ValueError, match='where'):
        main(['taxonomy', 'export', 'camvid', '-o', 'x.json'])


@pytest.mark.parametrize(
    'arguments',
    [
        ['--', 'info'],
        ['predict', 'x.png', '-o', 'y', '--alpha', 'nan'],
        ['predict', 'x.png', '-o', 'y', '--frames', '²'],
        ['predict', 'x.png', '-o', 'y', '--max-pixels', '0'],
    ],
)
def test_wrong_usage_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        assert main(arguments) == 0
        return
    assert 'error: ' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'use'),
    [
        (['research'], 'research went, use lemore benchmark'),
        (['benchmark', 'memory'], 'benchmark memory went, use lemore benchmark'),
        (['bag', 'video', 'drive'], 'bag video went, use lemore predict BAG'),
        (['export', '--int8=folder'], 'export --int8 went, use lemore export'),
        (['export', '-o', 'x.onnx', '--int8', 'folder'], 'export --int8 went, use lemore export'),
    ],
)
def test_what_went_is_answered_with_its_replacement(
    arguments: list[str], use: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        sys.exit(main(arguments))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f'lemore: {use}')
    assert error.count('\n') == 1


def test_names_that_are_not_utf8_are_printed(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b'/stra\xdfe.json'
    command = [sys.executable, '-m', 'lemore_core.cli.main', 'taxonomy', 'export', 'camvid', '-o']
    done = subprocess.run([*command, name], capture_output=True, check=True, cwd=ROOT)
    assert Path(os.fsdecode(name)).is_file()
    assert b'Traceback' not in done.stderr
