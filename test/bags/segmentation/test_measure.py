"""The rates of labelling on this machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lemore_core.cli.main import main
from test.bags.conftest import BagFolder, drive


def test_every_rate_is_measured(
    bags: BagFolder, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = bags.write(drive(30))
    model = ['--model', str(exported), '--backend', 'onnxruntime', '--device', 'cpu']
    assert main(['bag', 'measure', str(source), '--turns', '1', *model]) == 0
    printed = capsys.readouterr().out
    found = re.findall(r'^(.+?) {2,}([\d.]+)', printed, re.MULTILINE)
    values = {name: float(value) for name, value in found}
    assert values['frames'] == 30
    plain, pipelined = values['one step after the other'], values['all steps at once']
    gain = re.search(r'([\d.]+) times as fast', printed)
    assert gain is not None
    assert float(gain[1]) == pytest.approx(pipelined / plain, abs=0.02)
    assert 0 < pipelined <= 1.05 * values['bound of all steps']
    assert values['the network alone'] > plain
    assert not list(bags.folder.glob('.*'))


def test_a_bag_without_images_is_named(
    bags: BagFolder, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = bags.write([message for message in drive(3) if message[0] == '/notes'])
    assert main(['bag', 'measure', str(source), '--model', str(exported)]) == 1
    assert 'has no camera' in capsys.readouterr().err
