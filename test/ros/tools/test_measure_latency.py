"""The figures of a node, measured with real processes for a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lemore_core.common.child import ChildError
from lemore_ros.tools.measure_latency import Load, Reading, measure, round_trip
from lemore_ros.tools.probe import start_node, wait_until

LOAD = Load((60, 80), 5.0, images=6)


def test_labels_come_back_with_the_nodes_own_figures(start_python: Callable[..., Any]) -> None:
    options = ['--sizes', '1920x1080', '--rate', '5', '--seconds', '4']
    process = start_python('-m', 'lemore_ros.tools.measure_latency', *options)
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    names, (size, *values) = (line.split() for line in output.splitlines())
    figures = dict(zip(names[1:], map(float, values), strict=True))
    assert size == '1920x1080'
    # best effort: a busy machine loses images; with the defaults of Fast DDS some 7 in 100 arrive
    assert 20 == figures['sent'] >= figures['received'] >= figures['arrived'] > 0
    assert figures['received'] > 10
    assert min(figures[name] for name in ('segmenter', 'work', 'work+overlay')) > 0
    assert figures['rest'] < figures['total'] <= figures['total_p95']


def test_the_rest_is_not_the_segmenters() -> None:
    before = {'received': '3', 'cpu_s': '5.00'}
    after = {'received': '10', 'cpu_s': '5.07', 'segmenter_p50_ms': '8.5', 'work_p50_ms': '0.5'}
    plain = Reading(7, [10.0, 12.0, 30.0], before, after)
    overlaid = Reading(7, [], before, after | {'work_p50_ms': '1.5'})
    assert round_trip(Load((480, 640), 10.0, 7), plain, overlaid) == {
        'size': '640x480',
        'sent': 7,
        'received': 7,
        'arrived': 3,
        'total_p50_ms': 12.0,
        'total_p95_ms': 28.2,
        'segmenter_p50_ms': 8.5,
        'rest_p50_ms': 3.5,
        'work_p50_ms': 0.5,
        'cpu_ms': 10.0,
        'work_with_overlay_p50_ms': 1.5,
    }


@pytest.mark.usefixtures('graph')
def test_a_node_that_cannot_start_is_named_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    with pytest.raises(ChildError, match=r'segmentation_node ended with code 1, see .*node\.log:'):
        measure({'model': 'gone.safetensors'}, LOAD)
    (log,) = tmp_path.glob('*/node.log')
    assert 'no checkpoint gone' in log.read_text()


def test_a_node_is_not_waited_for_forever(served: dict[str, Any], tmp_path: Path) -> None:
    with (
        start_node(served, tmp_path / 'log') as node,
        pytest.raises(ChildError, match=r'^ready: not within 1 s, see .*log$'),
    ):
        wait_until(lambda: False, 'ready', node, timeout_s=1)
