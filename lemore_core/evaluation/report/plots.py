"""The plots of an evaluation, as Bokeh figures.

Colours of text, axes and grids are left to the report's theme, which follows the reader's.
"""

from __future__ import annotations

import math

import numpy as np
from bokeh.layouts import column
from bokeh.models import (
    BasicTicker,
    Column,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    NumeralTickFormatter,
    Range1d,
    Ticker,
)
from bokeh.plotting import figure
from numpy.typing import NDArray

from lemore_core.evaluation.calibration import CalibrationBins
from lemore_core.evaluation.metrics import percent
from lemore_core.taxonomy import Taxonomy

ACCENT = '#4c8dff'
SECOND = '#f28e2b'
OUTLINE = '#808080'  # seen on white and on black
ROW = 24
MOST_NUMBERED = 20  # classes whose matrix has room for numbers
MOST_NAMED = 60  # and for the names of all


def class_bars(taxonomy: Taxonomy, values: NDArray[np.float64], what: str) -> figure:
    """Plot one bar a class (values 0..1, NaN for none), the best on top; ``what`` names them."""
    order = np.argsort(np.nan_to_num(values, nan=-1), kind='stable')
    places = range(len(order))
    plot = _figure(
        height=ROW * len(order) + 60,
        x_range=(0, 1),
        y_range=(-0.6, len(order) - 0.4),
    )
    data = {
        'place': list(places),
        'value': [float(v) for v in np.nan_to_num(values[order])],
        'name': [taxonomy.classes[i] for i in order],
        'color': ['#{:02x}{:02x}{:02x}'.format(*taxonomy.colors[i]) for i in order],
    }
    bars = plot.hbar(
        y='place',
        right='value',
        height=0.72,
        fill_color='color',
        line_color=OUTLINE,
        source=ColumnDataSource(data=data),
    )
    plot.add_tools(
        HoverTool(renderers=[bars], tooltips=[('class', '@name'), (what, '@value{0.0 %}')])
    )
    plot.yaxis.ticker = FixedTicker(ticks=list(places))
    plot.yaxis.major_label_overrides = {
        place: f'{taxonomy.classes[i]}  {percent(values[i])}'
        for place, i in zip(places, order, strict=True)
    }
    plot.xaxis.axis_label = what
    plot.xaxis.formatter = NumeralTickFormatter(format='0 %')
    plot.ygrid.visible = False
    return plot


def confusion_map(
    taxonomy: Taxonomy,
    counts: NDArray[np.int64],
    *,
    rows: str = 'truth',
    columns: str = 'predicted',
) -> figure:
    """Plot a confusion matrix (classes, classes): of each class of a row, which column it got."""
    number = len(counts)
    cell = min(40, max(12, 900 // number))
    plot = _figure(
        height=cell * number + 150,
        x_range=(-0.5, number - 0.5),
        y_range=(number - 0.5, -0.5),
        # a large one is read by zooming in
        tools='' if number <= MOST_NUMBERED else 'pan,box_zoom,wheel_zoom,reset',
    )
    cells = plot.rect(
        x='predicted',
        y='true',
        width=1,
        height=1,
        fill_color=ACCENT,
        # transparency instead of a colour map: it fades to the page's colour, light or dark
        fill_alpha='share',
        line_color=None,
        source=ColumnDataSource(data=_cells(taxonomy, counts)),
    )
    if number <= MOST_NUMBERED:
        plot.text(
            x='predicted',
            y='true',
            text='percent',
            text_align='center',
            text_baseline='middle',
            text_font_size='11px',
            source=cells.data_source,
        )
    tooltips = [
        (rows, '@true_name'),
        (columns, '@predicted_name'),
        ('of the row', '@share{0.00 %}'),
        ('pixels', '@pixels{0,0}'),
    ]
    plot.add_tools(HoverTool(renderers=[cells], tooltips=tooltips))
    for axis, title in ((plot.xaxis, columns), (plot.yaxis, rows)):
        axis.ticker = _class_ticker(number)
        axis.major_label_overrides = dict(enumerate(taxonomy.classes))
        axis.axis_label = title
    plot.xaxis.major_label_orientation = math.pi / 4 if number <= MOST_NUMBERED else math.pi / 2
    plot.grid.visible = False
    return plot


def _class_ticker(number: int) -> Ticker:
    if number <= MOST_NAMED:
        return FixedTicker(ticks=list(range(number)))
    # names for which there is no room come up when the reader zooms in
    return BasicTicker(desired_num_ticks=MOST_NAMED, min_interval=1, num_minor_ticks=0)


def _cells(taxonomy: Taxonomy, counts: NDArray[np.int64]) -> dict[str, list[object]]:
    totals = counts.sum(1)
    # pairs that never occur are left out: most of them, where classes are many
    rows, columns = np.nonzero(counts)
    shares = counts[rows, columns] / totals[rows]
    return {
        'true': rows.tolist(),
        'predicted': columns.tolist(),
        'share': shares.tolist(),
        'pixels': counts[rows, columns].tolist(),
        'percent': [f'{100 * share:.0f}' if share >= 0.005 else '' for share in shares],
        'true_name': [taxonomy.classes[i] for i in rows],
        'predicted_name': [taxonomy.classes[i] for i in columns],
    }


def reliability(bins: CalibrationBins) -> Column:
    """Plot accuracy by confidence, and below it the share of the pixels in each bin."""
    filled = bins.counts > 0
    total = max(int(bins.counts.sum()), 1)
    data = {
        'left': bins.edges[:-1][filled].tolist(),
        'right': bins.edges[1:][filled].tolist(),
        'accuracy': bins.accuracy[filled].tolist(),
        'confidence': bins.confidence[filled].tolist(),
        'pixels': bins.counts[filled].tolist(),
        'share': (bins.counts[filled] / total).tolist(),
    }
    upper = _figure(height=380, x_range=(0, 1), y_range=(0, 1))
    lower = _figure(height=170, x_range=(0, 1), y_range=(0, 1))
    source = ColumnDataSource(data=data)
    bars = [
        plot.quad(
            left='left',
            right='right',
            bottom=0,
            top=top,
            source=source,
            fill_color=ACCENT,
            fill_alpha=0.6,  # the diagonal is seen through it
            line_color=OUTLINE,
        )
        for plot, top in ((upper, 'accuracy'), (lower, 'share'))
    ]
    upper.line([0, 1], [0, 1], line_color=OUTLINE, line_dash='dashed', line_width=2)
    upper.scatter('confidence', 'accuracy', source=source, size=7, color=SECOND)
    tooltips = [
        ('mean confidence', '@confidence{0.0 %}'),
        ('accuracy', '@accuracy{0.0 %}'),
        ('pixels', '@pixels{0,0}'),
        ('of all pixels', '@share{0.00 %}'),
    ]
    for plot, quads, title in zip((upper, lower), bars, ('accuracy', 'pixels'), strict=True):
        plot.add_tools(HoverTool(renderers=[quads], tooltips=tooltips))
        plot.yaxis.axis_label = title
        plot.yaxis.formatter = NumeralTickFormatter(format='0 %')
        plot.xaxis.formatter = NumeralTickFormatter(format='0 %')
    lower.xaxis.axis_label = 'confidence'
    return column(upper, lower, sizing_mode='stretch_width')


def _figure(
    *, height: int, x_range: tuple[float, float], y_range: tuple[float, float], tools: str = ''
) -> figure:
    plot = figure(
        height=height,
        sizing_mode='stretch_width',
        x_range=Range1d(start=x_range[0], end=x_range[1]),
        y_range=Range1d(start=y_range[0], end=y_range[1]),
        tools=tools,
        toolbar_location='above' if tools else None,
        # the page shows through, whatever its colour
        background_fill_color=None,
        border_fill_color=None,
    )
    plot.toolbar.logo = None
    for axis in (plot.xaxis, plot.yaxis):
        axis.minor_tick_line_color = None
    return plot
