"""Draws an inspection as sheets: the image, explicit views, implicit maps, gates."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.model.nested_attention import VIEWS
from lemore_core.render import legend, overlay
from lemore_core.research.inspection.findings import (
    ExplicitViews,
    Floats,
    ImplicitMaps,
    Inspection,
    InspectionError,
)
from lemore_core.research.inspection.heat import diverging, heat_over, viridis
from lemore_core.research.inspection.layout import Panel, Row, compose, fit, scale_bar, text_line
from lemore_core.system.files import atomic_write

Pixels = NDArray[np.uint8]

LARGE = 480
OVERLAY = 0.6
# a few extreme entries would leave no colours for the others
PERCENTILES = (1, 99)
MARK = (255, 60, 60)
RING = 5
RAMP = np.linspace(0, 1, 256, dtype=np.float32)[None]


def write_sheets(inspection: Inspection, folder: Path) -> list[Path]:
    """Write what there is to see as PNG files, and return their paths.

    ``image.png`` and ``gates.png`` always; ``explicit_views.png``, ``implicit_maps.png`` and
    ``attention_received.png`` where the network has those parts.

    Raises:
        InspectionError: ``folder`` is a file, or named like one.
        OSError: the folder cannot be made or written.

    """
    if folder.is_file() or folder.suffix.lower() == '.png':
        msg = f'{folder} is the name of a file: the sheets are several, give a folder for them'
        raise InspectionError(msg)
    sheets = {'image': image_sheet(inspection)}
    if inspection.encoders:
        sheets['explicit_views'] = explicit_sheet(inspection)
    if inspection.blocks:
        sheets['implicit_maps'] = point_sheet(inspection)
        sheets['attention_received'] = received_sheet(inspection)
    sheets['gates'] = gates_sheet(inspection)
    return [_write(folder / f'{name}.png', sheet) for name, sheet in sheets.items()]


def image_sheet(inspection: Inspection) -> Pixels:
    """Return the image, its labels' overlay and their legend, RGB (H, W, 3) uint8."""
    colored = overlay(
        inspection.image, 'rgb8', inspection.labels, inspection.taxonomy.palette, OVERLAY
    )
    height, width = inspection.network_size
    strips = [text_line(f'seen by the network at {width} x {height}')]
    if inspection.missing:
        strips.append(text_line(f'not in this network: {", ".join(inspection.missing)}'))
    panels = [
        Panel(fit(inspection.image, LARGE), 'image'),
        Panel(fit(colored, LARGE), 'labels'),
    ]
    classes = Panel(legend(inspection.taxonomy, 2 * LARGE), 'classes')
    rows = [Row('', panels), Row('', [classes])]
    return compose(inspection.model, strips, rows)


def explicit_sheet(inspection: Inspection) -> Pixels:
    """Return the views and mixing matrices of the encoders, one a row, RGB (H, W, 3) uint8."""
    strips = [
        text_line('energy of a view: its mean absolute response; per cent: its share of the sum'),
        _heat_bar('1st percentile of the map', '99th'),
    ]
    if any(views.mixing for views in inspection.encoders):
        strips += [
            text_line(
                'W mixes columns (frontal) or rows (lateral): a row of W weighs what makes one of them'
            ),
            scale_bar(
                diverging(2 * RAMP - 1, 1.0),
                'W: negative',
                'positive, up to the 99th percentile of |w|',
            ),
        ]
    absent = [part for part in inspection.missing if part.endswith('view')]
    if absent:
        strips.append(text_line(f'not in this network: {", ".join(absent)}'))
    rows = [_encoder_row(inspection.image, views) for views in inspection.encoders]
    return compose(f'{inspection.model}: explicit views', strips, rows)


def point_sheet(inspection: Inspection) -> Pixels:
    """Return where the point's token attends to, a 3 x 3 grid a block, RGB (H, W, 3) uint8."""
    x, y = inspection.point
    rows = [
        row
        for block in inspection.blocks
        for row in _grid_rows(inspection, block, block.seen_from(inspection.token), marked=True)
    ]
    strips = [
        text_line(
            f'from the token of the point {x} {y} (framed); over each map its peak; mean over the heads'
        ),
        _heat_bar('0', 'the peak of the nine maps of the block'),
    ]
    return compose(f'{inspection.model}: implicit maps', strips, rows)


def received_sheet(inspection: Inspection) -> Pixels:
    """Return the attention that tokens get, a 3 x 3 grid a block, RGB (H, W, 3) uint8."""
    rows = [
        row
        for block in inspection.blocks
        for row in _grid_rows(inspection, block, block.received(), marked=False)
    ]
    strips = [
        text_line('over each map its peak; mean over the tokens that attend, and over the heads'),
        _heat_bar('0', 'the peak of the nine maps of the block'),
    ]
    return compose(f'{inspection.model}: attention received', strips, rows)


def gates_sheet(inspection: Inspection) -> Pixels:
    """Return the gates of the four stages, RGB (H, W, 3) uint8."""
    low = min(float(gate.min()) for gate in inspection.gates)
    high = max(float(gate.max()) for gate in inspection.gates)
    panels = [
        Panel(
            fit(heat_over(inspection.image, gate, low, high), LARGE),
            f'1/{4 * 2**index}: mean {gate.mean():.2f}, {gate.min():.2f} to {gate.max():.2f}',
        )
        for index, gate in enumerate(inspection.gates)
    ]
    strips = [
        text_line('how much of a stage passes: mean over the channels'),
        _heat_bar(f'{low:.2f}', f'{high:.2f}'),
    ]
    rows = [Row('', panels[:2]), Row('', panels[2:])]
    return compose(f'{inspection.model}: gates', strips, rows)


def _encoder_row(image: Pixels, views: ExplicitViews) -> Row:
    panels = []
    for view, energy in views.energies.items():
        low, high = np.percentile(energy, PERCENTILES)
        heat = heat_over(image, energy, float(low), float(high))
        caption = f'{view}: {views.strengths[view]:.0%}, mean {energy.mean():.3g}'
        panels.append(Panel(fit(heat), caption))
    side = min(fit(image).shape[:2])
    for view, weight in views.mixing.items():
        reach = float(np.percentile(np.abs(weight), PERCENTILES[1]))
        caption = f'W {view}: to {reach:.2g}'
        panels.append(Panel(fit(diverging(weight, reach), side, cells=True), caption))
    height, width = next(iter(views.energies.values())).shape
    return Row(f'encoder {views.name}, {width} x {height}', panels)


def _grid_rows(
    inspection: Inspection, block: ImplicitMaps, maps: Floats, *, marked: bool
) -> list[Row]:
    """Return three rows of three maps; beside them the image, and the mean of the nine."""
    high = float(maps.max())

    def panel(values: Floats, name: str) -> Panel:
        heat = fit(heat_over(inspection.image, values, 0.0, high, cells=True))
        return Panel(_marked(heat, inspection) if marked else heat, f'{name}: {values.max():.3f}')

    grid = [[panel(maps[i, j], f'Q{i + 1}K{j + 1}') for j in range(VIEWS)] for i in range(VIEWS)]
    image = fit(inspection.image)
    grid[0].append(Panel(_marked(image, inspection) if marked else image, 'image'))
    grid[1].append(panel(maps.mean(axis=(0, 1), dtype=np.float32), 'psi, mean'))
    return [Row(f'block {block.block}' if i == 0 else '', row) for i, row in enumerate(grid)]


def _marked(shown: Pixels, inspection: Inspection) -> Pixels:
    """Return an image of any size with the point ringed and its token's cell framed."""
    marked = shown.copy()
    rows, columns = inspection.blocks[0].grid
    # the centre of a pixel, as a fraction of the image
    x, y = ((p + 0.5) / n for p, n in zip(inspection.point, _size(inspection.image), strict=True))
    row, column = inspection.token
    width, height = _size(shown)
    start = (round(column * width / columns), round(row * height / rows))
    end = (round((column + 1) * width / columns) - 1, round((row + 1) * height / rows) - 1)
    cv2.rectangle(marked, start, end, MARK, 1)
    center = (int(x * width), int(y * height))
    cv2.circle(marked, center, RING, (255, 255, 255), 3, cv2.LINE_AA)
    cv2.circle(marked, center, RING, MARK, 2, cv2.LINE_AA)
    return marked


def _size(image: Pixels) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _heat_bar(low: str, high: str) -> Pixels:
    return scale_bar(viridis(RAMP, 0.0, 1.0), low, high)


def _write(path: Path, sheet: Pixels) -> Path:
    with atomic_write(path) as temporary:
        if not cv2.imwrite(str(temporary), sheet[..., ::-1]):
            msg = f'{path} cannot be written'
            raise OSError(msg)
    return path
