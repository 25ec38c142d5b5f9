"""Figures over the seconds of a drive, as Bokeh figures that are zoomed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from bokeh.layouts import column
from bokeh.models import Column, ColumnDataSource, DataRange1d, HoverTool, NumeralTickFormatter
from bokeh.plotting import figure

from lemore_core.evaluation.over_time import Course, OverTime
from lemore_core.evaluation.report.plots import ACCENT, hex_color
from lemore_core.taxonomy import Taxonomy

POINTS = 1500
HEIGHT, STACK_HEIGHT = 190, 320
COLORS = (ACCENT, '#f28e2b')
PERCENT, PLAIN = '0.0 %', '0.0'
MOST_STACKED = 20
OTHER, OTHER_COLOR = 'other classes', '#808080'


class Row(NamedTuple):
    """A plot of its own: what the axis says, and the columns drawn there by the name of each."""

    title: str
    columns: Mapping[str, str]
    number: str = PERCENT


def time_plots(
    rows: Sequence[Row], series: OverTime, shares: OverTime | None, taxonomy: Taxonomy
) -> Column:
    """Plot rows of figures, and the classes' ``shares`` stacked, above one another.

    Dragging or turning the wheel zooms all of them in time. Columns that were never known are left
    out. Where several frames are one point, a band goes from their least to their most.
    """
    course, time = series.course(POINTS), DataRange1d(range_padding=0.01)
    plots = []
    for row in rows:
        known = {n: key for n, key in row.columns.items() if not np.isnan(course.mean[key]).all()}
        if known:
            plots.append(_lines(row._replace(columns=known), course, time))
    if shares is not None:
        plots.append(_stack(shares.course(POINTS), taxonomy, time))
    for plot in plots:
        plot.xaxis.axis_label = 'seconds'
        plot.legend.click_policy = 'hide'
        plot.legend.spacing = 0
        plot.add_layout(plot.legend[0], 'right')
    return column(*plots, sizing_mode='stretch_width')


def _lines(row: Row, course: Course, time: DataRange1d) -> Any:
    plot = _figure(HEIGHT, row.title, row.number, time)
    for (name, key), color in zip(row.columns.items(), COLORS, strict=False):
        data = {
            'seconds': course.seconds,
            'value': course.mean[key],
            'low': course.low[key],
            'high': course.high[key],
        }
        style = {'source': ColumnDataSource(data=data), 'color': color, 'legend_label': name}
        plot.varea('seconds', 'low', 'high', fill_alpha=0.25, **style)
        plot.line('seconds', 'value', line_width=1.5, **style)
        # a figure that is known now and then makes no line
        dots = plot.scatter('seconds', 'value', size=3, **style)
        tooltips = [('s', '@seconds{0.00}'), (name, f'@value{{{row.number}}}')]
        plot.add_tools(HoverTool(renderers=[dots], tooltips=tooltips, mode='vline'))
    return plot


def _stack(course: Course, taxonomy: Taxonomy, time: DataRange1d) -> Any:
    """Plot the classes' shares of the image, one above the other; of many the largest, and the rest."""
    plot = _figure(STACK_HEIGHT, 'share of the image', PERCENT, time)
    plot.y_range.start, plot.y_range.end = 0, 1
    shares = {name: np.nan_to_num(course.mean[name]) for name in taxonomy.classes}
    colors = dict(zip(taxonomy.classes, map(hex_color, taxonomy.colors), strict=True))
    largest = sorted(shares, key=lambda name: -float(shares[name].sum()))[:MOST_STACKED]
    names = [name for name in taxonomy.classes if name in largest and shares[name].any()]
    rest = np.array([shares[name] for name in taxonomy.classes if name not in names]).sum(0)
    if np.any(rest):
        names, shares[OTHER], colors[OTHER] = [*names, OTHER], rest, OTHER_COLOR
    fields = {f'y{i}': shares[name] for i, name in enumerate(names)}
    plot.varea_stack(
        list(fields),
        x='seconds',
        color=[colors[name] for name in names],
        legend_label=names,
        source=ColumnDataSource(data={'seconds': course.seconds, **fields}),
    )
    return plot


def _figure(height: int, title: str, number: str, time: DataRange1d) -> Any:
    plot = figure(
        height=height,
        sizing_mode='stretch_width',
        x_range=time,
        y_axis_label=title,
        tools='xpan,xbox_zoom,xwheel_zoom,reset',
        active_drag='xbox_zoom',
        toolbar_location='above',
        min_border_left=80,  # the plots' time axes stand under each other
    )
    plot.yaxis.formatter = NumeralTickFormatter(format=number)
    return plot
