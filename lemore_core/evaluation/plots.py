"""Plot figures and class shares over the seconds of a drive, as Bokeh figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, DataRange1d, HoverTool, NumeralTickFormatter
from bokeh.plotting import figure

from lemore_core.evaluation.metrics import Points, TimeSeries
from lemore_core.taxonomy import Taxonomy

COLORS = ('#4c8dff', '#f28e2b')
MOST_STACKED = 20
REST, REST_COLOR = 'other classes', (128, 128, 128)
POINTS = 1500
PERCENT, PLAIN = '0.0 %', '0.0'


class Row(NamedTuple):
    """Plot of a time series: title of the axis, and columns by their names in the legend."""

    title: str
    columns: Mapping[str, str]
    number: str = PERCENT


def time_plots(
    rows: Sequence[Row], series: TimeSeries, shares: TimeSeries | None, taxonomy: Taxonomy
) -> Any:
    """Plot rows of figures, and the classes' ``shares`` stacked; all are zoomed together.

    Columns that are never known are left out. Where several frames are one point, a band goes
    from their least to their most.
    """
    points, time = series.points(POINTS), DataRange1d(range_padding=0.01)
    known = {key for key, values in points.mean.items() if not np.isnan(values).all()}
    plots = []
    for row in rows:
        columns = {name: key for name, key in row.columns.items() if key in known}
        if columns:
            plots.append(_lines(row._replace(columns=columns), points, time))
    if shares is not None:
        plots.append(_stack(shares.points(POINTS), taxonomy, time))
    for plot in plots:
        plot.legend.click_policy = 'hide'
        plot.legend.spacing = 0
        plot.add_layout(plot.legend[0], 'right')
    return column(*plots, sizing_mode='stretch_width')


def _lines(row: Row, points: Points, time: DataRange1d) -> Any:
    plot = _figure(190, row.title, row.number, time)
    for (name, key), color in zip(row.columns.items(), COLORS, strict=False):
        tables = {'value': points.mean, 'low': points.low, 'high': points.high}
        data = {'seconds': points.seconds, **{k: table[key] for k, table in tables.items()}}
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
    plot = _figure(320, 'share of the image', PERCENT, time)
    plot.y_range.start, plot.y_range.end = 0, 1
    shares = np.nan_to_num(np.array([points.mean[name] for name in taxonomy.classes]))
    totals = shares.sum(1)
    chosen = [i for i in np.sort(np.argsort(-totals)[:MOST_STACKED]) if totals[i] > 0]
    stacked = [(taxonomy.classes[i], taxonomy.colors[i], shares[i]) for i in chosen]
    rest = np.delete(shares, chosen, axis=0).sum(0)
    if rest.any():
        stacked.append((REST, REST_COLOR, rest))
    fields = {f'y{i}': values for i, (_, _, values) in enumerate(stacked)}
    plot.varea_stack(
        list(fields),
        x='seconds',
        color=['#{:02x}{:02x}{:02x}'.format(*color) for _, color, _ in stacked],
        legend_label=[name for name, _, _ in stacked],
        source=ColumnDataSource(data={'seconds': points.seconds, **fields}),
    )
    return plot


def _figure(height: int, title: str, number: str, time: DataRange1d) -> Any:
    plot = figure(
        height=height,
        sizing_mode='stretch_width',
        x_range=time,
        x_axis_label='seconds',
        y_axis_label=title,
        tools='xpan,xbox_zoom,xwheel_zoom,reset',
        active_drag='xbox_zoom',
        toolbar_location='above',
        min_border_left=80,  # aligns the time axes
    )
    plot.yaxis.formatter = NumeralTickFormatter(format=number)
    return plot
