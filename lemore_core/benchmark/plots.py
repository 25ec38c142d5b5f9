"""The plots of a benchmark, as Bokeh figures.

Colours of text, axes and grids are left to the report's theme, which follows the reader's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, Range1d
from bokeh.models.annotations import Legend, LegendItem
from bokeh.plotting import figure

from lemore_core.benchmark.memory import MemoryRow
from lemore_core.benchmark.peak import PeakRow
from lemore_core.benchmark.rate import RateRow
from lemore_core.benchmark.steps import StepsRow

# told apart by those who do not see all colours; by step, and by line
PALETTE = ('#4c8dff', '#f28e2b', '#2ca089', '#d1495b', '#9a6fc9', '#8d99ae', '#c9a227', '#5b8c5a')
STEP_COLORS = {
    'upload': PALETTE[4],
    'prepare': PALETTE[2],
    'network': PALETTE[0],
    'decode': PALETTE[1],
    'download': PALETTE[3],
    'whole': PALETTE[5],
}
OUTLINE = '#808080'  # seen on white and on black
ROW = 44
FRAME = 110
HEADROOM = 1.06
LegendEntries = list[tuple[str, list[Any]]]
PERCENTILES = {'median': 'solid', 'p95': 'dashed', 'p99': 'dotted'}


def step_bars(rows: Sequence[StepsRow]) -> figure:
    """Plot a bar a case, the first on top: its steps' medians, with the whole's 95th percentile."""
    longest = max(max(row.total_ms.median, row.total_ms.p95 or 0.0) for row in rows)
    plot = _figure('milliseconds a call', ROW * len(rows) + FRAME, x_end=HEADROOM * longest)
    _name_rows(plot, [row.name for row in rows])
    legend: LegendEntries = []
    bars = [bar for place, row in enumerate(reversed(rows)) for bar in _stacked(place, row)]
    for step, color in STEP_COLORS.items():
        data = {key: [bar[key] for bar in bars if bar['step'] == step] for key in bars[0]}
        if not data['step']:
            continue
        drawn = plot.hbar(
            y='place',
            left='left',
            right='right',
            height=0.6,
            color=color,
            source=ColumnDataSource(data=data),
        )
        tooltips = [('case', '@name'), (step, '@length{0.00} ms')]
        plot.add_tools(HoverTool(renderers=[drawn], tooltips=tooltips))
        legend.append((step, [drawn]))
    late = plot.scatter(
        x=[row.total_ms.p95 or row.total_ms.median for row in reversed(rows)],
        y=list(range(len(rows))),
        marker='dash',
        angle=1.5708,
        size=26,
        line_width=2,
        color=OUTLINE,
    )
    legend.append(('95th percentile', [late]))
    _add_legend(plot, legend, len(legend))
    plot.ygrid.visible = False
    return plot


def ratio_bars(medians: Mapping[str, float], what: str) -> figure:
    """Plot a bar for each of ``medians``, milliseconds by name, the first on top."""
    plot = _figure(what, ROW * len(medians) + FRAME, x_end=HEADROOM * max(medians.values()))
    names = list(medians)
    _name_rows(plot, names)
    data = {
        'place': list(reversed(range(len(names)))),
        'name': names,
        'length': list(medians.values()),
    }
    source = ColumnDataSource(data=data)
    drawn = plot.hbar(y='place', right='length', height=0.6, color=PALETTE[0], source=source)
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=[('@name', '@length{0.00} ms')]))
    plot.ygrid.visible = False
    return plot


def latency_lines(rates: Sequence[RateRow], peaks: Sequence[PeakRow]) -> figure:
    """Plot latency by the rate of the images, and the highest rates as upright lines."""
    cases = list(dict.fromkeys(row.name for row in rates))
    fastest = max([*(row.rate_hz for row in rates), *(peak.peak_hz for peak in peaks)])
    slowest = max(row.latency_ms.p99 or row.latency_ms.median for row in rates)
    plot = _figure('images a second', 420, x_end=HEADROOM * fastest, y_end=HEADROOM * slowest)
    plot.yaxis.axis_label = 'milliseconds from image to labels'
    legend: LegendEntries = []
    for case, color in zip(cases, _colors(len(cases)), strict=True):
        data = _latencies([row for row in rates if row.name == case])
        source = ColumnDataSource(data=data)
        for key, dash in PERCENTILES.items():
            line = plot.line('rate', key, source=source, color=color, line_dash=dash, line_width=2)
            dots = plot.scatter('rate', key, source=source, color=color, size=7)
            legend.append((f'{case}, {key}' if key == 'median' else key, [line, dots]))
        tooltips = [('rate', '@rate{0.0} Hz'), ('p50 / p95 / p99', '@text'), ('dropped', '@drops')]
        plot.add_tools(HoverTool(renderers=[dots], tooltips=tooltips))
        for peak in (one for one in peaks if one.name == case and one.best):
            marker = plot.line(
                [peak.peak_hz] * 2,
                [0, HEADROOM * slowest],
                color=color,
                line_dash='dotdash',
                line_width=2,
            )
            legend.append((f'highest rate, {peak.peak_hz:.0f} Hz', [marker]))
    _add_legend(plot, legend, len(legend) // len(cases))
    return plot


def memory_lines(rows: Sequence[MemoryRow]) -> figure:
    """Plot the resident memory by the number of images that were labelled."""
    most = max(row.peak_mb for row in rows)
    last = max(row.images for row in rows)
    plot = _figure('images labelled', 380, x_end=HEADROOM * last, y_end=HEADROOM * most)
    plot.yaxis.axis_label = 'resident megabytes'
    legend: LegendEntries = []
    for row, color in zip(rows, _colors(len(rows)), strict=True):
        images = [sample.images for sample in row.samples]
        resident = [sample.resident_mb for sample in row.samples]
        line = plot.line(images, resident, color=color, line_width=2)
        base = plot.line(
            [0, row.images], [row.libraries_mb] * 2, color=color, line_dash='dashed', line_width=2
        )
        legend += [(row.name, [line]), ('its libraries alone', [base])]
    _add_legend(plot, legend, 2)
    return plot


def _stacked(place: int, row: StepsRow) -> list[dict[str, Any]]:
    bars, left = [], 0.0
    steps = row.steps_ms or {'whole': row.total_ms}
    for step, measured in steps.items():
        right = left + measured.median
        bar = {'place': place, 'name': row.name, 'step': step, 'length': measured.median}
        bars.append(bar | {'left': left, 'right': right})
        left = right
    return bars


def _latencies(rows: Sequence[RateRow]) -> dict[str, list[Any]]:
    ordered = sorted(rows, key=lambda row: row.rate_hz)
    return {
        'rate': [row.rate_hz for row in ordered],
        **{key: [getattr(row.latency_ms, key) for row in ordered] for key in PERCENTILES},
        'text': [' / '.join(row.latency_ms.columns().values()) + ' ms' for row in ordered],
        'drops': [f'{row.dropped} of {row.posted}' for row in ordered],
    }


def _colors(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def _name_rows(plot: figure, names: Sequence[str]) -> None:
    """Write names beside the rows, the first on top."""
    places = list(reversed(range(len(names))))
    plot.y_range = Range1d(start=-0.6, end=len(names) - 0.4)
    plot.yaxis.ticker = FixedTicker(ticks=places)
    plot.yaxis.major_label_overrides = dict(zip(places, names, strict=True))


def _add_legend(plot: figure, items: LegendEntries, columns: int) -> None:
    legend = Legend(
        items=[LegendItem(label=label, renderers=drawn) for label, drawn in items],
        orientation='horizontal',
        ncols=columns,
        location='left',
        border_line_width=0,
        spacing=16,
    )
    plot.add_layout(legend, 'above')


def _figure(what: str, height: int, *, x_end: float, y_end: float = 1.0) -> figure:
    plot = figure(
        height=height,
        sizing_mode='stretch_width',
        x_range=Range1d(start=0, end=x_end),
        y_range=Range1d(start=0, end=y_end),
        tools='',
        toolbar_location=None,
        # the page shows through, whatever its colour
        background_fill_color=None,
        border_fill_color=None,
    )
    plot.xaxis.axis_label = what
    for axis in (plot.xaxis, plot.yaxis):
        axis.minor_tick_line_color = None
    return plot
