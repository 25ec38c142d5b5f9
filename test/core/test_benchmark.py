from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lemore_core.benchmark import BenchmarkError, Case, interleaved, measure_steps, steps_row, table
from lemore_core.inference import Status
from lemore_core.segmenter import Segmenter
from lemore_core.segmenter_options import SegmenterOptions

SIZE = (48, 64)
SHORT = ['--sizes', '64x48', '--devices', 'cpu', '--backends', 'torch']


def test_json_holds_the_steps_of_every_case(untrained_checkpoint: Path, lemore: Any) -> None:
    arguments = ['--models', f'{untrained_checkpoint},gone.onnx', *SHORT, '--batches', '1,2']
    document = lemore('benchmark', *arguments, '--repeats', '2', '--json').json()
    assert (document['format'], document['version']) == ('lemore benchmark', 3)
    assert 'numpy' in document['machine']['libraries']
    steps, batch, *skipped = document['rows']
    assert steps['kind'] == 'steps'
    assert (steps['image'], steps['network'], steps['calls']) == ('64x48', '128x96', 2)
    assert set(steps['steps_ms']) == {'prepare', 'network', 'decode'}
    assert set(steps['total_ms']) == {'median', 'p95'}
    assert steps['over_network'] > 1
    assert batch['batch'] == 2
    assert [row['kind'] for row in skipped] == ['skipped'] * 2
    assert 'gone.onnx' in skipped[0]['reason']


def test_a_table_is_printed(untrained_checkpoint: Path, lemore: Any) -> None:
    done = lemore('benchmark', '--models', untrained_checkpoint, *SHORT, '--repeats', '2')
    assert (done.status, done.out[:4]) == (0, 'CPU ')
    assert [line.split()[-1] for line in done.out.splitlines() if 'whole' in line] == ['2'], 'calls'


def test_the_network_size_is_the_segmenters(untrained_checkpoint: Path) -> None:
    options = SegmenterOptions(str(untrained_checkpoint), backend='torch', device='cpu')
    segmenter = Segmenter.load(untrained_checkpoint, backend='torch', device='cpu')
    size = Case(options, (90, 160)).request().size
    assert size == segmenter.network_size(90, 160) != (96, 128)
    fixed = SegmenterOptions(str(untrained_checkpoint), size=(64, 64))
    assert Case(fixed, (90, 160)).request().size == (64, 64)


def test_a_backend_that_does_all_at_one_call_has_no_steps(untrained_checkpoint: Path) -> None:
    case = Case(SegmenterOptions(str(untrained_checkpoint), batch=2), SIZE)
    status = Status('stub', 'cpu', 'fp32', degraded='it is none')
    row = steps_row(case, status, [(4.0, {}), (4.0, {}), (90.0, {})])
    assert row['steps_ms'] == {}
    assert row['total_ms'] == {'median': 4.0, 'p95': pytest.approx(81.4)}
    assert (row['over_network'], row['images_per_second']) == (None, 500.0)
    absent = {'kind': 'skipped', 'case': 'tensorrt', 'reason': 'is not installed'}
    heading, *lines, skipped = table([row, absent]).splitlines()
    assert heading.split()[:2] == ['case', 'step']
    assert lines[0].split()[-4:] == ['4.00', '81.40', '500.0', '3']
    assert skipped == 'not measured: tensorrt: is not installed'


def test_calls_are_interleaved_and_the_first_call_of_each_is_not_counted() -> None:
    calls: list[str] = []

    def task(name: str) -> int:
        calls.append(name)
        return len(calls)

    timed = interleaved({'a': lambda: task('a'), 'b': lambda: task('b')}, range(2))
    assert ''.join(calls) == 'ab' + 'aabb' * 2
    assert [returned for _, returned in timed['a']] == [4, 8]
    assert all(milliseconds >= 0 for milliseconds, _ in timed['b'])


def test_nothing_to_measure_is_refused() -> None:
    case = Case(SegmenterOptions('huge', precision='fp16', batch=4), SIZE)
    assert case.name(case.options) == 'huge auto fp16, 64x48 x 4'
    with pytest.raises(BenchmarkError, match=r"nothing can be measured: .*'huge'"):
        measure_steps([case], None, 1)
