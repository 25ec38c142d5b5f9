from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lemore_core.cli.main import main

SHORT = ['--sizes', '64x48', '--devices', 'cpu', '--backends', 'torch']


def measured(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the rows that ``lemore benchmark`` prints as JSON."""
    assert main(['benchmark', *arguments, '--json', '-']) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)['rows']
    return rows


def test_steps_in_turns_beside_a_peer(
    untrained_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ['--model', str(untrained_checkpoint)]
    peer = tmp_path / 'peer.onnx'
    assert main(['export', *model, '-o', str(peer)]) == 0
    capsys.readouterr()
    arguments = [*model, *SHORT, '--batches', '1,2', '--rounds', '2', '--no-memory']
    steps, batch, own, other = measured([*arguments, '--peer', f'onnx:{peer}'], capsys)
    assert (steps['kind'], own['kind']) == ('steps', 'network')
    assert (steps['image'], steps['network'], steps['calls']) == ('64x48', '128x96', 2)
    assert set(steps['steps_ms']) == {'prepare', 'network', 'decode'}
    assert steps['over_network'] > 1
    assert (batch['batch'], batch['peak_memory_mb']) == (2, None)
    assert (own['ratio'], other['name']) == (1.0, str(peer))
    assert own['inputs'] == other['inputs'] == '1x96x128x3 uint8'
    assert own['threads'] == other['threads']


def test_rates(untrained_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ['rate', '--model', str(untrained_checkpoint), *SHORT]
    lengths = ['--rates', '5,20', '--seconds', '0.4', '--probe-seconds', '0.1']
    peak, slow, fast = measured([*arguments, *lengths], capsys)
    assert (peak['kind'], slow['kind']) == ('peak', 'rate')
    assert 1 <= peak['probes'] <= 32
    assert (slow['posted'], fast['posted']) == (2, 8)
    assert fast['labelled'] + fast['dropped'] == 8
    assert slow['name'] == peak['name']


def test_a_table_a_file_and_a_plot(
    untrained_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('bokeh', reason='Bokeh is not installed')
    plot, file = tmp_path / 'plot.html', tmp_path / 'new' / 'rows.json'
    files = ['--plot', str(plot), '--json', str(file)]
    arguments = ['--model', str(untrained_checkpoint), *SHORT, '--rounds', '2']
    assert main(['benchmark', *arguments, *files]) == 0
    text = capsys.readouterr().out
    assert 'whole' in text
    assert 'CPU' in text
    assert json.loads(file.read_text())['rows'][0]['peak_memory_mb'] > 10
    assert '<title>LeMoRe benchmark</title>' in plot.read_text()


def test_decodings_and_foldings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        'lemore_core.benchmark.decoding.DECODINGS', (('ade20k', (64, 64)), ('camvid', (64, 96)))
    )
    many, few = measured(['decode', '--model', 'nano', '--rounds', '2'], capsys)
    assert (many['logits'], many['labels']) == ('8x8x150', '64x64')
    assert (few['logits'], few['labels']) == ('12x8x11', '96x64')
    assert many['decode_over_network'] == pytest.approx(
        many['decode_ms']['median'] / many['network_ms']['median']
    )
    monkeypatch.setattr('lemore_core.benchmark.folding.SIZE', (64, 64))
    rows = measured(['folding', '--rounds', '2'], capsys)
    names = [row['name'] for row in rows]
    assert names == ['plain', 'folded', 'folded, fusion_at_head', 'folded, int8']
    assert rows[0]['ratio'] == 1
    assert {row['inputs'] for row in rows} == {'1x64x64x3 uint8'}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--model', 'huge'], "no model is called 'huge'"),
        (['--backends', 'warp'], "no backend is called 'warp'"),
        (['--image', 'gone.png'], 'gone.png is no readable image or video'),
        (['--peer', 'gone.onnx'], "a peer is written onnx:FILE, not 'gone.onnx'"),
        (['--height', '64'], 'give both or neither'),
        (['rate', '--rounds', '3'], '--rounds is for steps and decode and folding, rate has'),
        (['decode', '--images', '3'], '--images is for memory, decode has no use for it'),
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


@pytest.mark.parametrize('what', ['decode', 'folding'])
def test_a_package_that_is_missing_is_named(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None if name == 'onnx' else name)
    assert main(['benchmark', what]) == 1
    assert 'pip install onnx\n' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments',
    [
        ['--sizes', '640'],
        ['--sizes', '0x480'],
        ['--rounds', '0'],
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
