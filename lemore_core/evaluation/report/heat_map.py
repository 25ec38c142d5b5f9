"""Shares over the image's area, as a Bokeh figure."""

from __future__ import annotations

import numpy as np
from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    HoverTool,
    Image,
    LinearColorMapper,
    NumeralTickFormatter,
    Range1d,
)
from bokeh.models.annotations import ColorBar
from bokeh.palettes import Inferno256
from bokeh.plotting import figure
from numpy.typing import NDArray

WIDTH = 720


def heat_map(shares: NDArray[np.float64], what: str) -> figure:
    """Plot shares (h, w) 0..1 over an image; ``what`` they are of, the pointer tells."""
    rows, columns = shares.shape
    plot = figure(
        width=WIDTH,
        height=round(WIDTH * rows / columns),
        x_range=Range1d(start=0, end=columns),
        y_range=Range1d(start=rows, end=0),
        tools='',
        toolbar_location=None,
        background_fill_color=None,
        border_fill_color=None,
        sizing_mode='scale_width',
    )
    # a drive without any differences still has a scale
    highest = max(float(shares.max()), 0.001)
    colors = LinearColorMapper(palette=list(Inferno256), low=0, high=highest)
    image = plot.add_glyph(
        ColumnDataSource(data={'shares': [shares]}),
        Image(image='shares', x=0, y=0, dw=columns, dh=rows, color_mapper=colors),
    )
    # the value of the grid under the pointer
    plot.add_tools(HoverTool(renderers=[image], tooltips=[(what, '@image{0.0 %}')]))
    scale = ColorBar(
        color_mapper=colors,
        formatter=NumeralTickFormatter(format='0.0 %'),
        ticker=BasicTicker(),
        background_fill_color=None,
    )
    plot.add_layout(scale, 'right')
    plot.axis.visible = False
    plot.grid.visible = False
    return plot
