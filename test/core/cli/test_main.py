from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lemore_core.cli import taxonomy
from lemore_core.cli.main import COMMANDS, DEBUG, main
from lemore_core.common.files import hold
from lemore_core.inference.backend import ServingRequest
from lemore_core.inference.gpu.device import Gpu
from lemore_core.inference.tensorrt import cache

CPU = ['--backends', 'torch', '--devices', 'cpu']
Output, Monkey = pytest.CaptureFixture[str], pytest.MonkeyPatch


def test_a_checkpoint_is_described(untrained_checkpoint: Path, capsys: Output) -> None:
    assert main(['info', '--model', str(untrained_checkpoint)]) == 0
    assert 'untrained' in capsys.readouterr().out
    without = ['--dataset', 'ade20k', '--without', 'frontal', '--without', 'channel-attention']
    assert main(['info', *without, '--json']) == 0
    assert json.loads(capsys.readouterr().out)['parameters'] < 1_602_582
    # a shipped size by its name, as a card for people
    assert main(['info', '--model', 'nano']) == 0
    card = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert card['classes'].startswith('19 of cityscapes: road, sidewalk')
    assert card['cost'] == '0.356 M parameters, 0.158 GFLOPs at 480x360'
    assert 'CC BY-NC 4.0' in card['licence']
    assert '{' not in str(card.values())


def test_export_writes_a_file(untrained_checkpoint: Path, tmp_path: Path, capsys: Output) -> None:
    output = tmp_path / 'new' / 'model.onnx'
    assert main(['export', '--model', str(untrained_checkpoint), '-o', str(output)]) == 0
    assert '128x96 pixels, 11 classes' in capsys.readouterr().out
    assert main(['info', '--model', str(output), '--json']) == 0
    assert json.loads(capsys.readouterr().out)['model'] == 'untrained'


@pytest.mark.parametrize(
    ('command', 'folder'),
    [
        (['train', '--recipe', 'camvid', '--data', '.'], 'out'),
        (['predict', 'a.png'], 'out'),
        (['distill', 'a.png', '--teacher', 'nano'], 'out'),
        (['data', 'split', 'images', 'masks', '--classes', 'camvid'], '.out.part'),
        (['bag', 'segment', 'a.mcap'], '.out.part'),
    ],
)
def test_a_folder_that_another_process_writes_to_is_left_alone(
    command: list[str], folder: str, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ('images/a/1.png', 'images/b/1.png', 'masks/a/1.png', 'masks/b/1.png'):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    with hold(tmp_path / folder):
        assert main([*command, '-o', 'out']) == 1
        assert re.search(rf'{folder} is written to by process \d+ \(', capsys.readouterr().err)


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_explains_itself(command: str, capsys: Output) -> None:
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
        (['engine', 'build', '--height', '64'], 'give both or neither'),
        (['engine', 'build', '--batch', '0'], 'batch is 0'),
        (['export', '--model', 'huge', '-o', 'x.onnx'], "no model is called 'huge'"),
        (['benchmark', '--model', 'huge'], "no model is called 'huge'"),
        (['benchmark', '--image', 'gone.png'], 'there is no file or folder gone.png'),
        (
            ['benchmark', *CPU, '--precisions', 'fp16'],
            'nothing can be measured: PyTorch is slower in fp16',
        ),
        (['evaluate', '--data', '.', '--scales', '99'], 'from 0.1 to 10'),
        (['evaluate', '--data', '.', '--dataset', 'mars'], 'mars'),
        (['evaluate', '--data', '.', '--split', 'nowhere'], 'nowhere'),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], message: str, capsys: Output
) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith(f'lemore {arguments[0]}: ')
    assert error.count('\n') == 1


CONTENT = {
    'GB': '',
    'Git LFS pointer': f'version https://git-lfs.github.com/spec/v1\noid sha256:{64 * "0"}\nsize 9\n',
    'web page': '\n<!DOCTYPE html>\n<html><title>Not found</title></html>',
}


@pytest.mark.parametrize('kind', ['a pipe', *CONTENT])
@pytest.mark.parametrize(
    'arguments',
    [
        ['info', '--model', 'it.onnx'],
        ['info', '--model', 'it.safetensors'],
        ['info', '--dataset', 'it.yaml'],
        ['import', 'it.onnx', '--classes', 'camvid', '-o', 'new.onnx'],
        ['predict', 'it.jpg', '--model', 'nano', '-o', 'out'],
    ],
)
def test_what_is_no_file_of_bounded_size_is_refused_unread(
    arguments: list[str], kind: str, tmp_path: Path, monkeypatch: Monkey, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(next(text for text in arguments if text.startswith('it.')))
    if kind == 'a pipe':
        os.mkfifo(path)
    else:
        path.write_text(CONTENT[kind])
    if kind == 'GB':
        os.truncate(path, 2**40)
    assert main(arguments) == 1
    expected = {'GB': 'it has 1099511627776 bytes, allowed: up to'}.get(kind, kind)
    assert expected in capsys.readouterr().err
    path.unlink()
    path.symlink_to('/dev/zero')
    assert main(arguments) == 1
    assert 'or a device' in capsys.readouterr().err


def test_no_traceback_whatever_a_command_raises(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
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
    'wrong',
    [
        'predict --alpha nan',
        'predict --frames ²',
        'predict --max-pixels 0',
        'benchmark --sizes 0x480',
        'benchmark --batches 1,',
    ],
)
def test_wrong_usage_is_named(wrong: str, capsys: Output) -> None:
    with pytest.raises(SystemExit) as stop:
        main(wrong.split())
    assert stop.value.code == 2
    assert f'error: argument {wrong.split()[1]}: ' in capsys.readouterr().err


def test_an_option_of_other_commands_is_named_with_the_usage_of_this_one(capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(['predict', 'x.png', '-o', 'out', '--class-groups', 'auto'])
    found = capsys.readouterr().err
    assert found.startswith('usage: lemore predict')
    assert 'lemore predict: error: unrecognized arguments: --class-groups auto' in found


def test_an_engine_that_is_there_is_named(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(cache, 'load_tensorrt', lambda: SimpleNamespace(__version__='11.4.0'))
    found = Gpu('cuda:0', 'NVIDIA RTX A2000 (26 SMs)', '8.6', '580.65')
    monkeypatch.setattr(cache, 'find_gpu', lambda _: found)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    cache.locate_engine(ServingRequest(exported, 96, 128, batch=2)).keep(bytes(3 << 20))
    assert main(['engine', 'build', '--model', str(exported), '--batch', '2']) == 0
    (path,) = (tmp_path / 'lemore' / 'engines').glob('*.engine')
    assert capsys.readouterr().out.splitlines() == [
        f'{path}: there already',
        '128x96 x 2, as exported, NVIDIA RTX A2000 (26 SMs), 3.0 MiB',
    ]


def test_without_tensorrt_the_package_is_named(
    untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    assert main(['engine', 'build', '--model', str(untrained_checkpoint)]) == 1
    assert 'pip install tensorrt' in capsys.readouterr().err
