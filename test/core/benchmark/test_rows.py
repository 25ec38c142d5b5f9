from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lemore_core.benchmark import rows as module
from lemore_core.benchmark.machine import Machine
from lemore_core.benchmark.machine import machine as describe
from lemore_core.benchmark.report import benchmark_report
from lemore_core.benchmark.rows import Row, document, table_text, tables
from lemore_core.evaluation.report.build import render_report


def test_json_has_every_field_of_every_row(rows: list[Row], machine: Machine) -> None:
    values = json.loads(json.dumps(document(rows, machine)))
    assert (values['format'], values['version']) == ('lemore benchmark', 1)
    assert values['machine']['cpu'] == 'a processor'
    kinds = [row['kind'] for row in values['rows']]
    assert kinds == [row.kind for row in rows]
    documented = re.findall(r'^(\w+) +:class:', module.__doc__ or '', re.MULTILINE)
    assert set(kinds) == set(documented)
    assert values['rows'][0]['steps_ms']['network'] == {'median': 2.5, 'p95': 3, 'p99': 3.5}
    assert values['rows'][1]['total_ms']['p95'] is None


def test_kinds_have_tables_of_their_own_without_empty_columns(rows: list[Row]) -> None:
    steps, *others = tables(rows)
    assert len(others) == 6
    assert [line['step'] for line in steps] == ['prepare', 'network', 'decode', 'whole', 'whole']
    assert [line['/ network'] for line in steps] == ['0.40', '1.00', '1.60', '1.60', '']
    assert steps[3]['peak MB'] == '300'
    assert 'peak GPU MB' in steps[0]
    (only_host, *_) = tables(rows[:1])
    assert 'peak GPU MB' not in only_host[0]


def test_a_table_is_aligned() -> None:
    text = table_text([{'name': 'a', 'ms': '1.00'}, {'name': 'longer', 'ms': '10.00'}])
    assert text.splitlines() == ['name       ms', 'a        1.00', 'longer  10.00']


def test_the_plots_are_in_one_file(rows: list[Row], machine: Machine) -> None:
    pytest.importorskip('bokeh', reason='Bokeh is not installed')
    page = render_report(benchmark_report(rows, machine))
    assert page.count('class="plot-data"') == 5
    assert 'a processor, 2 usable' in page
    assert not re.findall(r'<(?:script|link)[^>]+(?:src|href)=', page)


def test_this_machine_is_described(tmp_path: Path) -> None:
    from lemore_core.benchmark.machine import cpu_model

    here = describe()
    assert here.cpu
    assert here.processors >= 1
    assert here.versions['numpy']
    assert here.facts()['CPU'].endswith('usable')
    assert cpu_model(tmp_path / 'gone')
