from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lemore_core.cli import taxonomy
from lemore_core.cli.main import COMMANDS, DEBUG
from lemore_core.common.files import hold
from lemore_core.inference.backend import ServingRequest
from lemore_core.inference.gpu.device import Gpu
from lemore_core.inference.tensorrt import cache

CPU = ['--backends', 'torch', '--devices', 'cpu']
Monkey = pytest.MonkeyPatch


def test_a_checkpoint_is_described(untrained_checkpoint: Path, lemore: Any) -> None:
    assert lemore('info', '--model', untrained_checkpoint).says('untrained')
    without = ['--dataset', 'ade20k', '--without', 'frontal', '--without', 'channel-attention']
    assert lemore('info', *without, '--json').json()['parameters'] < 1_602_582
    # a shipped size by its name, as a card for people
    card = dict(
        line.split(maxsplit=1) for line in lemore('info', '--model', 'nano').out.splitlines()
    )
    assert card['classes'].startswith('19 of cityscapes: road, sidewalk')
    assert card['cost'] == '0.356 M parameters, 0.158 GFLOPs at 480x360'
    assert 'CC BY-NC 4.0' in card['licence']
    assert '{' not in str(card.values())


def test_export_writes_a_file(untrained_checkpoint: Path, tmp_path: Path, lemore: Any) -> None:
    output = tmp_path / 'new' / 'model.onnx'
    assert lemore('export', '--model', untrained_checkpoint, '-o', output).says(
        '128x96 pixels, 11 classes'
    )
    assert lemore('info', '--model', output, '--json').json()['model'] == 'untrained'


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
    command: list[str], folder: str, tmp_path: Path, lemore: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ('images/a/1.png', 'images/b/1.png', 'masks/a/1.png', 'masks/b/1.png'):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    with hold(tmp_path / folder):
        done = lemore(*command, '-o', 'out')
        assert done.status == 1
        assert re.search(rf'{folder} is written to by process \d+ \(', done.err)


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_explains_itself(command: str, lemore: Any) -> None:
    done = lemore(command, '--help')
    assert done.status == 0
    assert COMMANDS[command] in ' '.join(done.out.split())


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
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], message: str, lemore: Any) -> None:
    done = lemore(*arguments)
    assert done.fails(message)
    assert done.err.startswith(f'lemore {arguments[0]}: ')
    assert done.err.count('\n') == 1


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
    arguments: list[str], kind: str, tmp_path: Path, monkeypatch: Monkey, lemore: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(next(text for text in arguments if text.startswith('it.')))
    if kind == 'a pipe':
        os.mkfifo(path)
    else:
        path.write_text(CONTENT[kind])
    if kind == 'GB':
        os.truncate(path, 2**40)
    expected = {'GB': 'it has 1099511627776 bytes, allowed: up to'}.get(kind, kind)
    assert lemore(*arguments).fails(expected)
    path.unlink()
    path.symlink_to('/dev/zero')
    assert lemore(*arguments).fails('or a device')


def test_no_traceback_whatever_a_command_raises(
    monkeypatch: pytest.MonkeyPatch, lemore: Any
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
        done = lemore('taxonomy', 'export', 'camvid', '-o', 'x.json')
        assert done.fails(message, status=status)
        assert done.err.count('\n') == bool(message)
    monkeypatch.setenv(DEBUG, '1')
    raised.append(ValueError('where'))
    with pytest.raises(ValueError, match='where'):
        lemore('taxonomy', 'export', 'camvid', '-o', 'x.json')


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
def test_wrong_usage_is_named(wrong: str, lemore: Any) -> None:
    assert lemore(*wrong.split()).fails(f'error: argument {wrong.split()[1]}: ', status=2)


def test_an_option_of_other_commands_is_named_with_the_usage_of_this_one(lemore: Any) -> None:
    done = lemore('predict', 'x.png', '-o', 'out', '--class-groups', 'auto')
    assert done.fails(
        'lemore predict: error: unrecognized arguments: --class-groups auto', status=2
    )
    assert done.err.startswith('usage: lemore predict')


def test_an_engine_that_is_there_is_named(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lemore: Any
) -> None:
    monkeypatch.setattr(cache, 'load_tensorrt', lambda: SimpleNamespace(__version__='11.4.0'))
    found = Gpu('cuda:0', 'NVIDIA RTX A2000 (26 SMs)', '8.6', '580.65')
    monkeypatch.setattr(cache, 'find_gpu', lambda _: found)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    cache.locate_engine(ServingRequest(exported, 96, 128, batch=2)).keep(bytes(3 << 20))
    done = lemore('engine', 'build', '--model', exported, '--batch', '2')
    (path,) = (tmp_path / 'lemore' / 'engines').glob('*.engine')
    of = '128x96 x 2, as exported, NVIDIA RTX A2000 (26 SMs), 3.0 MiB'
    assert done == (0, f'{path}: there already\n{of}\n', '')


def test_without_tensorrt_the_package_is_named(
    untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, lemore: Any
) -> None:
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    assert lemore('engine', 'build', '--model', untrained_checkpoint).fails('pip install tensorrt')
