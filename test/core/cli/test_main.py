from __future__ import annotations

import json
from pathlib import Path

import pytest

from lemore_core.cli.main import COMMANDS, main


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
        (['info', '--height', '1', '--width', '64'], 'height is 1'),
        (['evaluate', '--data', 'nowhere'], 'there is no folder'),
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


def test_a_command_that_moved_is_answered_with_its_new_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(['pretrain', '--output', 'out']) == 2
    assert capsys.readouterr().err == 'lemore pretrain is called lemore research pretrain now\n'
