"""The rates of several models in one plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bokeh.models import HoverTool
from bokeh.palettes import Category10_10
from bokeh.plotting import ColumnDataSource, figure

from lemore_core.benchmark.cases import Skipped
from lemore_core.benchmark.peak import PeakRow
from lemore_core.benchmark.rate import RateRow
from lemore_core.benchmark.rows import columns_by_kind
from lemore_core.evaluation.report.build import write_report
from lemore_core.evaluation.report.content import Report, ReportSection, Table

HEIGHT = 460
READING = (
    'A line is a model on a backend: the median latency at each rate, a whisker up to the 95th percentile. '
    'The diamond is the highest rate at which under 5 % of the images are dropped.'
)


def write_rates(
    rows: Sequence[PeakRow | RateRow | Skipped], machine: Mapping[str, str], path: Path
) -> None:
    """Write an HTML file with the plot of the rows, their tables and what they were measured on.

    Raises:
        ReportError: Jinja2 is not installed, or the file cannot be written.
    """
    skipped = [row for row in rows if isinstance(row, Skipped)]
    measured = [row for row in rows if not isinstance(row, Skipped)]
    tables = [_table(columns) for columns in columns_by_kind(measured)]
    notes = [f'{row.what} was not measured: {row.reason}' for row in skipped]
    section = ReportSection('Latency and rate', (READING, _plot(measured), *tables, *notes))
    write_report(Report('Benchmark', facts=machine, sections=(section,)), path)


def _plot(rows: Sequence[PeakRow | RateRow]) -> figure:
    plot = figure(
        height=HEIGHT,
        sizing_mode='stretch_width',
        x_axis_type='log',
        y_axis_type='log',
        x_axis_label='images a second',
        y_axis_label='latency in ms',
        tools='pan,box_zoom,wheel_zoom,reset',
    )
    peaks = [row for row in rows if isinstance(row, PeakRow)]
    for i, peak in enumerate(peaks):
        fixed = [row for row in rows if isinstance(row, RateRow) and row.name == peak.name]
        points = sorted([*fixed, *([peak.best] if peak.best else [])], key=lambda row: row.rate_hz)
        data = {
            'rate': [row.rate_hz for row in points],
            'median': [row.latency_ms.median for row in points],
            'p95': [row.latency_ms.p95 for row in points],
            'marker': ['diamond' if row is peak.best else 'circle' for row in points],
            'size': [14 if row is peak.best else 7 for row in points],
            'dropped': [row.drop_share for row in points],
        }
        source, color = ColumnDataSource(data=data), Category10_10[i % len(Category10_10)]
        style: dict[str, Any] = {'source': source, 'color': color, 'legend_label': peak.name}
        plot.line('rate', 'median', line_width=1.5, **style)
        dots = plot.scatter('rate', 'median', marker='marker', size='size', **style)
        plot.segment('rate', 'median', 'rate', 'p95', **style)
        plot.add_tools(
            HoverTool(
                renderers=[dots],
                tooltips=[
                    (peak.name, '@rate{0.0} Hz'),
                    ('median, p95', '@median{0.0}, @p95{0.0} ms'),
                    ('dropped', '@dropped{0.0 %}'),
                ],
            )
        )
    plot.legend.click_policy = 'hide'
    plot.add_layout(plot.legend[0], 'above')
    return plot


def _table(columns: Sequence[Sequence[str]]) -> Table:
    (title, *names), *rows = zip(*columns, strict=True)
    return Table(title.capitalize(), ('', *names), tuple(rows))
