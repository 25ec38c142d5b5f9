from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from lemore_core.checkpoint import read_card
from lemore_core.export import cache as export_cache
from lemore_core.export.cache import cached_export
from lemore_core.export.export import check_export, street_images, trace_onnx
from lemore_core.export.graph import load_graph
from lemore_core.export.shipped import WEIGHTS, read_shipped

STALE = 'weights or graph changed: run make exports'


@pytest.mark.parametrize('model', ['nano', 'tiny'])
def test_what_is_shipped_is_of_its_checkpoint_and_serves_without_an_export(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = WEIGHTS / f'lemore_{model}_camvid.safetensors'
    config = read_card(checkpoint).config
    shipped = read_shipped(checkpoint, config.height, config.width)
    assert shipped, STALE
    monkeypatch.setattr(export_cache, '_export', lambda *_, **__: b'exported')
    monkeypatch.setattr(export_cache, 'user_cache', lambda: tmp_path / 'cache')
    assert cached_export(checkpoint, config.height, config.width) == shipped
    assert cached_export(checkpoint, config.height, config.width, half=True) == b'exported'
    assert cached_export(checkpoint, config.height, config.width + 64) == b'exported'

    for path in WEIGHTS.glob(f'{checkpoint.stem}*'):
        shutil.copy(path, tmp_path)
    copied = tmp_path / checkpoint.name
    assert read_shipped(copied, config.height, config.width) == shipped
    with copied.open('ab') as file:
        file.write(b' ')
    assert read_shipped(copied, config.height, config.width) is None


def test_what_is_shipped_is_the_graph_of_today() -> None:
    checkpoint = WEIGHTS / 'lemore_nano_camvid.safetensors'
    size = read_card(checkpoint).config.height, read_card(checkpoint).config.width
    content = read_shipped(checkpoint, *size)
    assert content, STALE
    graph = load_graph(checkpoint, *size)
    shipped, traced = onnx.load_from_string(content), trace_onnx(graph, *size)
    found, expected = ([node.op_type for node in m.graph.node] for m in (shipped, traced))
    assert found == expected, STALE
    check_export(graph, content, street_images(*size))
