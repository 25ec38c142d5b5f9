"""Figures over the seconds of a drive, as Bokeh figures that are zoomed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from bokeh.layouts import column
from bokeh.models import (
    BoxZoomTool,
    Column,
    ColumnDataSource,
    CrosshairTool,
    DataRange1d,
    HoverTool,
    NumeralTickFormatter,
)
from bokeh.models.annotations import Legend, LegendItem, Span
from bokeh.plotting import figure

from lemore_core.evaluation.over_time import Course, OverTime
from lemore_core.evaluation.report.plots import ACCENT, OUTLINE, SECOND
from lemore_core.taxonomy import Taxonomy

POINTS = 1500
HEIGHT = 190
STACK_HEIGHT = 320
COLORS = (ACCENT, SECOND, '#59a14f', '#b07aa1')
PERCENT, PLAIN = '0 %', '0.0'
OTHER = 'other classes'
MOST_STACKED = 20
OTHER_COLOR = (128, 128, 128)


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
    plots = _Plots()
    course = series.course(POINTS)
    for row in rows:
        known = {
            name: key for name, key in row.columns.items() if not np.isnan(course.mean[key]).all()
        }
        if known:
            plots.lines(row._replace(columns=known), course)
    if shares is not None:
        plots.stack(shares.course(POINTS), taxonomy)
    return plots.column()


class _Plots:
    """Figures over one time axis."""

    def __init__(self) -> None:
        self._time = DataRange1d(range_padding=0.01)
        # one line for all: where the pointer is in one plot is seen in the others
        self._pointer = Span(dimension='height', line_color=OUTLINE, line_dash='dotted')
        self._plots: list[Any] = []

    def lines(self, row: Row, course: Course) -> None:
        """Add a plot of lines."""
        plot = self._figure(HEIGHT, row.title, row.number)
        seconds = course.seconds
        for (name, key), color in zip(row.columns.items(), COLORS, strict=False):
            data = {
                'seconds': seconds,
                'value': course.mean[key],
                'low': course.low[key],
                'high': course.high[key],
            }
            source = ColumnDataSource(data=data)
            plot.varea('seconds', 'low', 'high', source=source, fill_color=color, fill_alpha=0.25)
            line = plot.line('seconds', 'value', source=source, line_color=color, line_width=1.5)
            # a figure that is known now and then makes no line
            dots = plot.scatter('seconds', 'value', source=source, size=3, color=color)
            tooltips = [('s', '@seconds{0.00}'), (name, f'@value{{{_finer(row.number)}}}')]
            plot.add_tools(HoverTool(renderers=[dots], tooltips=tooltips, mode='vline'))
            if len(row.columns) > 1:
                self._legend(plot, name, [line])

    def stack(self, course: Course, taxonomy: Taxonomy) -> None:
        """Add a plot of the classes' shares of the image, one above the other."""
        plot = self._figure(STACK_HEIGHT, 'share of the image', PERCENT)
        plot.y_range.start, plot.y_range.end = 0, 1
        layers = _layers(course, taxonomy)
        data: dict[str, Any] = {f'y{i}': values for i, (_, _, values) in enumerate(layers)}
        data['seconds'] = course.seconds
        areas = plot.varea_stack(
            [f'y{i}' for i in range(len(layers))],
            x='seconds',
            color=['#{:02x}{:02x}{:02x}'.format(*color) for _, color, _ in layers],
            source=ColumnDataSource(data=data),
        )
        for area, (name, _, _) in zip(areas, layers, strict=True):
            self._legend(plot, name, [area])
        plot.legend[0].ncols = 2 if len(layers) > 10 else 1

    def column(self) -> Column:
        """Return the plots, one above the other."""
        if self._plots:
            self._plots[-1].xaxis.axis_label = 'seconds'
        return column(*self._plots, sizing_mode='stretch_width')

    def _figure(self, height: int, title: str, number: str) -> Any:
        plot = figure(
            height=height,
            sizing_mode='stretch_width',
            x_range=self._time,
            tools='xpan,xwheel_zoom,reset',
            toolbar_location='above',
            background_fill_color=None,
            border_fill_color=None,
        )
        plot.toolbar.logo = None
        zoom = BoxZoomTool(dimensions='width')
        plot.add_tools(zoom, CrosshairTool(overlay=self._pointer))
        plot.toolbar.active_drag = zoom
        plot.yaxis.axis_label = title
        plot.yaxis.formatter = NumeralTickFormatter(format=number)
        plot.min_border_left = 80  # the plots' time axes stand under each other
        for axis in (plot.xaxis, plot.yaxis):
            axis.minor_tick_line_color = None
        self._plots.append(plot)
        return plot

    def _legend(self, plot: Any, name: str, renderers: list[Any]) -> None:
        if not plot.legend:
            legend = Legend(click_policy='hide', background_fill_alpha=0.6, spacing=0)
            plot.add_layout(legend, 'right')
        plot.legend[0].items.append(LegendItem(label={'value': name}, renderers=renderers))


def _layers(course: Course, taxonomy: Taxonomy) -> list[tuple[str, tuple[int, int, int], Any]]:
    """Return name, colour and shares of the classes that occur; of many the largest, and the rest."""
    found = [
        (name, color, np.nan_to_num(course.mean[name]))
        for name, color in zip(taxonomy.classes, taxonomy.colors, strict=True)
        if np.nan_to_num(course.mean[name]).any()
    ]
    if len(found) <= MOST_STACKED:
        return found
    ranked = sorted(found, key=lambda layer: -float(layer[2].sum()))
    rest = sum(values for _, _, values in ranked[MOST_STACKED:])
    return [*ranked[:MOST_STACKED], (OTHER, OTHER_COLOR, rest)]


def _finer(number: str) -> str:
    return '0.0 %' if number == PERCENT else '0.00'
