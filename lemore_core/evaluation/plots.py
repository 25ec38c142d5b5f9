"""Plot calibration and time series, as Bokeh figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, DataRange1d, HoverTool, NumeralTickFormatter
from bokeh.plotting import figure

from lemore_core.evaluation.metrics import CalibrationBins, Points, TimeSeries
from lemore_core.taxonomy import Taxonomy

ACCENT, OUTLINE = '#4c8dff', '#808080'
COLORS = (ACCENT, '#f28e2b')
MOST_STACKED = 20
REST = 'other classes'
POINTS = 1500
PERCENT, PLAIN = '0.0 %', '0.0'


class Row(NamedTuple):
    """Plot of a time series: title of the axis, and columns by their names in the legend."""

    title: str
    columns: Mapping[str, str]
    number: str = PERCENT


def reliability(bins: CalibrationBins) -> Any:
    """Plot accuracy by confidence, and the share of the pixels."""
    filled = bins.counts > 0
    values = {
        'left': bins.edges[:-1],
        'right': bins.edges[1:],
        'accuracy': bins.accuracy,
        'confidence': bins.confidence,
        'pixels': bins.counts,
        'share': bins.counts / max(int(bins.counts.sum()), 1),
    }
    source = ColumnDataSource(data={name: one[filled].tolist() for name, one in values.items()})
    tooltips = [
        ('mean confidence', '@confidence{0.0 %}'),
        ('accuracy', '@accuracy{0.0 %}'),
        ('pixels', '@pixels{0,0} (@share{0.00 %})'),
    ]
    plot = _figure(400, x_range=(0, 1), y_range=(0, 1), tools='hover', tooltips=tooltips)
    style = {'source': source, 'line_color': OUTLINE}
    plot.quad('left', 'right', 'accuracy', 0, color=ACCENT, legend_label='accuracy', **style)
    shares = {'color': COLORS[1], 'legend_label': 'share of the pixels'}
    plot.quad('left', 'right', 'share', 0, fill_alpha=0.6, **shares, **style)
    plot.line([0, 1], [0, 1], line_color='#1c1f24', line_dash='dashed', line_width=2)
    plot.xaxis.axis_label = 'confidence'
    plot.axis.formatter = NumeralTickFormatter(format='0 %')
    plot.legend.location = 'top_left'
    return plot


def time_plots(
    rows: Sequence[Row], series: TimeSeries, shares: TimeSeries | None, taxonomy: Taxonomy
) -> Any:
    """Plot rows of figures, and the classes' ``shares`` stacked; all are zoomed together.

    Columns that are never known are left out. Where several frames are one point, a band goes
    from their least to their most.
    """
    points, time = series.points(POINTS), DataRange1d(range_padding=0.01)
    known = {key for key, values in points.mean.items() if not np.isnan(values).all()}
    plots = [
        _lines(row, points, time, known) for row in rows if known.intersection(row.columns.values())
    ]
    if shares is not None:
        plots.append(_stack(shares.points(POINTS), taxonomy, time))
    for plot in plots:
        plot.legend.click_policy = 'hide'
        plot.legend.spacing = 0
        plot.add_layout(plot.legend[0], 'right')
    return column(*plots, sizing_mode='stretch_width')


def _lines(row: Row, points: Points, time: DataRange1d, known: set[str]) -> Any:
    plot = _time_figure(190, row.title, row.number, time)
    columns = {name: key for name, key in row.columns.items() if key in known}
    for (name, key), color in zip(columns.items(), COLORS, strict=False):
        data = {'seconds': points.seconds, 'value': points.mean[key]}
        data |= {'low': points.low[key], 'high': points.high[key]}
        style = {'source': ColumnDataSource(data=data), 'color': color, 'legend_label': name}
        plot.varea('seconds', 'low', 'high', fill_alpha=0.25, **style)
        plot.line('seconds', 'value', line_width=1.5, **style)
        # a figure that is known now and then makes no line
        dots = plot.scatter('seconds', 'value', size=3, **style)
        tooltips = [('s', '@seconds{0.00}'), (name, f'@value{{{row.number}}}')]
        plot.add_tools(HoverTool(renderers=[dots], tooltips=tooltips, mode='vline'))
    return plot


def _stack(points: Points, taxonomy: Taxonomy, time: DataRange1d) -> Any:
    """Plot the classes' shares of the image stacked; of many the largest, and the rest."""
    plot = _time_figure(320, 'share of the image', PERCENT, time)
    plot.y_range.start, plot.y_range.end = 0, 1
    shares = {name: np.nan_to_num(points.mean[name]) for name in taxonomy.classes}
    colors = dict(zip(taxonomy.classes, map(_hex, taxonomy.colors), strict=True))
    largest = sorted(shares, key=lambda name: -float(shares[name].sum()))[:MOST_STACKED]
    names = [name for name in taxonomy.classes if name in largest and shares[name].any()]
    rest = np.array([shares[name] for name in taxonomy.classes if name not in names]).sum(0)
    if np.any(rest):
        names, shares[REST], colors[REST] = [*names, REST], rest, OUTLINE
    fields = {f'y{i}': shares[name] for i, name in enumerate(names)}
    source = ColumnDataSource(data={'seconds': points.seconds, **fields})
    style = {'color': [colors[name] for name in names], 'legend_label': names}
    plot.varea_stack(list(fields), x='seconds', source=source, **style)
    return plot


def _time_figure(height: int, title: str, number: str, time: DataRange1d) -> Any:
    plot = _figure(
        height,
        x_range=time,
        x_axis_label='seconds',
        y_axis_label=title,
        tools='xpan,xbox_zoom,xwheel_zoom,reset',
        active_drag='xbox_zoom',
        min_border_left=80,  # aligns the time axes
    )
    plot.yaxis.formatter = NumeralTickFormatter(format=number)
    return plot


def _figure(height: int, *, tools: str = '', **options: Any) -> Any:
    options = {'sizing_mode': 'stretch_width', **options}
    options['toolbar_location'] = 'above' if 'zoom' in tools else None
    return figure(height=height, tools=tools, **options)


def _hex(color: tuple[int, int, int]) -> str:
    return '#{:02x}{:02x}{:02x}'.format(*color)
