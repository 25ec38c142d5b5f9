from __future__ import annotations

import json
from pathlib import Path

from lemore_core.benchmark.cases import Skipped
from lemore_core.benchmark.machine import cpu_model, machine_facts
from lemore_core.benchmark.peak import PeakRow
from lemore_core.benchmark.percentiles import Percentiles
from lemore_core.benchmark.rate import RateRow
from lemore_core.benchmark.rows import Measurement, document, tables
from lemore_core.benchmark.steps import StepsRow

TIME = Percentiles(4.0, 5.0, 6.0)
STEPS = {'prepare': Percentiles(1.0, 1.5, 2.0), 'network': Percentiles(2.5, 3, 3.5), 'decode': TIME}
ON_CPU = ('tiny on the CPU', 'tiny', 'onnxruntime', 'cpu', 'fp32', '', 1, '64x48', '64x64', 9)
ON_GPU = ('tiny on the GPU', 'tiny', 'torch', 'cuda:0', 'fp16', '', 4, '64x48', '64x64', 9)
RATE = RateRow('tiny', 10.0, 10.0, 100, 98, 2, TIME, 0.5)
ROWS: list[Measurement] = [
    StepsRow(*ON_CPU, TIME, STEPS, 250.0, 1.6),
    StepsRow(*ON_GPU, Percentiles(4.0), {}, 1000.0, None),
    PeakRow('tiny', 50.0, 51.0, 7, RATE),
    PeakRow('base', 0.0, 0.1, 7, None),
    RATE,
    Skipped('tensorrt', 'is not installed'),
]


def test_json_has_every_field_of_every_row() -> None:
    values = json.loads(json.dumps(document(ROWS, {'CPU': 'a processor'})))
    assert (values['format'], values['version']) == ('lemore benchmark', 2)
    assert values['machine']['CPU'] == 'a processor'
    assert [row['kind'] for row in values['rows']] == [row.kind for row in ROWS]
    assert values['rows'][0]['steps_ms']['network'] == {'median': 2.5, 'p95': 3, 'p99': 3.5}
    assert values['rows'][1]['total_ms']['p95'] is None


def test_kinds_have_tables_of_their_own_without_empty_columns() -> None:
    steps, peaks, *others = tables(ROWS)
    assert len(others) == 2
    heading, *lines = steps.splitlines()
    assert '/ network' in heading
    assert lines[0].split()[-5] == 'prepare'
    assert lines[3].split()[:5] == ['whole', '4.00', '5.00', '6.00', '1.60']
    assert peaks.splitlines()[2].split()[1] == 'none'
    assert '/ network' not in tables(ROWS[1:2])[0]


def test_a_table_is_aligned() -> None:
    text = tables([Skipped('a', '1.00'), Skipped('longer', '10.00')])[0]
    assert text.splitlines() == [
        'not measured  because',
        'a                1.00',
        'longer          10.00',
    ]


def test_this_machine_is_described(tmp_path: Path) -> None:
    facts = machine_facts()
    assert facts['CPU'].endswith('usable')
    assert 'numpy' in facts['libraries']
    assert cpu_model(tmp_path / 'gone')
