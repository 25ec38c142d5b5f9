"""The plots of an evaluation, as Bokeh figures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from bokeh.layouts import column
from bokeh.models import Column, ColumnDataSource, LinearColorMapper, NumeralTickFormatter
from bokeh.plotting import figure
from numpy.typing import NDArray

from lemore_core.evaluation.calibration import CalibrationBins
from lemore_core.evaluation.metrics import percent
from lemore_core.taxonomy import Taxonomy

ACCENT = '#4c8dff'
OUTLINE = '#808080'
ROW = 24
MOST_NUMBERED = 20  # classes whose matrix has room for numbers
HEAT_WIDTH = 720


def hex_color(color: tuple[int, int, int]) -> str:
    """Return an RGB colour as HTML writes it."""
    return '#{:02x}{:02x}{:02x}'.format(*color)


def class_bars(taxonomy: Taxonomy, values: NDArray[np.float64], what: str) -> Any:
    """Plot one bar a class (values 0..1, NaN for none), the best on top; ``what`` names them."""
    order = np.argsort(np.nan_to_num(values, nan=-1), kind='stable')
    names = [f'{taxonomy.classes[i]}  {percent(values[i])}' for i in order]
    plot = _figure(ROW * len(order) + 60, x_range=(0, 1), y_range=names)
    plot.hbar(
        y=names,
        right=np.nan_to_num(values[order]).tolist(),
        height=0.72,
        fill_color=[hex_color(taxonomy.colors[i]) for i in order],
        line_color=OUTLINE,
    )
    plot.xaxis.axis_label = what
    plot.xaxis.formatter = NumeralTickFormatter(format='0 %')
    plot.ygrid.visible = False
    return plot


def confusion_map(
    taxonomy: Taxonomy,
    counts: NDArray[np.int64],
    *,
    rows: str = 'ground truth',
    columns: str = 'predicted',
) -> Any:
    """Plot a confusion matrix (classes, classes): of each class of a row, which column it got."""
    names, number = list(taxonomy.classes), len(counts)
    is_small = number <= MOST_NUMBERED
    # pairs that never occur are left out: most of them, where classes are many
    down, across = np.nonzero(counts)
    shares = counts[down, across] / counts.sum(1)[down]
    data = {
        'row': [names[i] for i in down],
        'column': [names[i] for i in across],
        'share': shares.tolist(),
        'pixels': counts[down, across].tolist(),
        'percent': [f'{100 * share:.0f}' if share >= 0.005 else '' for share in shares],
    }
    source = ColumnDataSource(data=data)
    plot = _figure(
        min(40, max(12, 900 // number)) * number + 150,
        x_range=names,
        y_range=names[::-1],
        # a large one is read by zooming in
        tools='hover' if is_small else 'hover,pan,box_zoom,wheel_zoom,reset',
        tooltips=[
            (rows, '@row'),
            (columns, '@column'),
            ('of the row', '@share{0.00 %}'),
            ('pixels', '@pixels{0,0}'),
        ],
    )
    plot.rect(
        'column', 'row', 1, 1, source=source, color=ACCENT, fill_alpha='share', line_color=None
    )
    if is_small:
        centred = {'text_align': 'center', 'text_baseline': 'middle', 'text_font_size': '11px'}
        plot.text('column', 'row', 'percent', source=source, **centred)
    else:
        plot.axis.major_label_text_font_size = '8px'
    plot.xaxis.axis_label, plot.yaxis.axis_label = columns, rows
    plot.xaxis.major_label_orientation = math.pi / 4 if is_small else math.pi / 2
    plot.grid.visible = False
    return plot


def reliability(bins: CalibrationBins) -> Column:
    """Plot accuracy by confidence, and below it the share of the pixels in each bin."""
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
    plots = []
    for name, height in (('accuracy', 380), ('share', 170)):
        plot = _figure(height, x_range=(0, 1), y_range=(0, 1), tools='hover', tooltips=tooltips)
        plot.quad('left', 'right', name, 0, source=source, color=ACCENT, line_color=OUTLINE)
        plot.yaxis.axis_label = f'{name} of the pixels' if name == 'share' else name
        for axis in (plot.xaxis, plot.yaxis):
            axis.formatter = NumeralTickFormatter(format='0 %')
        plots.append(plot)
    plots[0].line([0, 1], [0, 1], line_color=OUTLINE, line_dash='dashed', line_width=2)
    plots[1].xaxis.axis_label = 'confidence'
    return column(*plots, sizing_mode='stretch_width')


def heat_map(shares: NDArray[np.float64], what: str) -> Any:
    """Plot shares (h, w) 0..1 over an image; ``what`` they are of, the pointer tells."""
    rows, columns = shares.shape
    plot = _figure(
        round(HEAT_WIDTH * rows / columns),
        width=HEAT_WIDTH,
        sizing_mode='scale_width',
        x_range=(0, columns),
        y_range=(rows, 0),
        tools='hover',
        tooltips=[(what, '@image{0.0 %}')],
    )
    # a drive without any differences still has a scale
    colors = LinearColorMapper(palette='Inferno256', low=0, high=max(float(shares.max()), 0.001))
    image = plot.image([shares], x=0, y=0, dw=columns, dh=rows, color_mapper=colors)
    percentages = NumeralTickFormatter(format='0.0 %')
    plot.add_layout(image.construct_color_bar(formatter=percentages), 'right')
    plot.axis.visible = False
    plot.grid.visible = False
    return plot


def _figure(height: int, *, tools: str = '', **options: Any) -> Any:
    options = {'sizing_mode': 'stretch_width', **options}
    options['toolbar_location'] = 'above' if 'zoom' in tools else None
    return figure(height=height, tools=tools, **options)
