"""Figures by the names of ros2_benchmark (its basic_performance_calculator.py)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lemore_core.common.errors import LemoreError
from lemore_ros.tools.benchmark import concluded, main, metrics
from lemore_ros.tools.measuring import Load, MeasuredNode, Reading

CAPACITY_HZ, LATENCY_MS = 60.0, 12.0
NODE = {'': {'model': 'tiny', 'backend': 'onnxruntime', 'device': 'cpu', 'precision': 'fp32'}}


def reading_at(rate: float, frames: int) -> Reading:
    """Return what a node gives that labels 60 images a second and loses the others."""
    sent = 1e3 * np.arange(frames) / rate
    kept = sent[:: math.ceil(rate / (1.06 * CAPACITY_HZ))]
    arrived = kept + LATENCY_MS
    latencies = [LATENCY_MS] * len(arrived)
    return Reading(frames, latencies, NODE, NODE, sent.tolist(), arrived.tolist())


def test_the_metrics_of_a_run() -> None:
    sent, arrived = [0.0, 100.0, 200.0, 300.0, 400.0], [10.0, 120.0, 215.0, 430.0]
    found = metrics(Reading(5, [10.0, 20.0, 15.0, 30.0], NODE, NODE, sent, arrived))
    assert found['RECEIVED_DURATION'] == 420
    assert found['MEAN_PLAYBACK_FRAME_RATE'] == pytest.approx(12.5)
    assert found['MEAN_FRAME_RATE'] == pytest.approx(4 / 0.42)
    assert (found['NUM_MISSED_FRAMES'], found['NUM_FRAMES_SENT']) == (1, 5)
    assert found['FIRST_SENT_RECEIVED_LATENCY'] == 10
    assert found['LAST_SENT_RECEIVED_LATENCY'] == 30
    assert (found['MIN_LATENCY'], found['MEAN_LATENCY'], found['MAX_LATENCY']) == (10, 18.75, 30)
    # gaps of 110, 95 and 215 ms
    assert (found['MIN_JITTER'], found['MAX_JITTER']) == (15, 120)
    assert metrics(Reading(5, [10.0], NODE, NODE, sent, [10.0])) == {}


def test_the_best_and_the_worst_run_do_not_count() -> None:
    names = ('MEAN_LATENCY', 'MAX_LATENCY', 'MIN_LATENCY')
    runs = [dict.fromkeys(names, float(value)) for value in (9, 1, 3, 2, 100)]
    found = concluded(runs)
    assert [found[f'BasicPerformanceMetrics.{name}'] for name in names] == [4.667, 9, 2]
    with pytest.raises(LemoreError, match='labels arrived in 2 of 3 runs, 3 are needed'):
        concluded([{}, *runs[:2]])


def test_the_peak_is_found_and_latency_is_measured_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loads: list[Load] = []

    def measure(_: MeasuredNode, load: Load) -> Reading:
        loads.append(load)
        return reading_at(load.rate_hz, load.count)

    monkeypatch.setattr(MeasuredNode, 'measure', measure)
    output = tmp_path / 'r2b.json'
    arguments = ['--size', '640x480', '--rates', '10,60', '--runs', '3', '--seconds', '2']
    assert main([*arguments, '--output', str(output)]) == 0
    values = json.loads(output.read_text())
    peak = values['BenchmarkMetadata.PEAK_THROUGHPUT_PREDICTION']
    assert 0.9 * CAPACITY_HZ < peak <= 1.06 * CAPACITY_HZ
    assert capsys.readouterr().out.startswith(f'{output}: peak ')
    for rate in ('10.0fps', '60.0fps'):
        assert values[rate]['BasicPerformanceMetrics.MEAN_LATENCY'] == LATENCY_MS
        assert values[rate]['BasicPerformanceMetrics.NUM_MISSED_FRAMES'] == 0
    assert values['metadata']['input_data_size'] == '640x480'
    assert {load.size for load in loads} == {(640, 480)}


def test_a_node_that_keeps_up_with_nothing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(MeasuredNode, 'measure', lambda *_: Reading(5, [], NODE, NODE))
    assert main(['--runs', '3']) == 2
    assert 'more than 5 % of the images are lost' in capsys.readouterr().err
