"""Draws an inspection as sheets: the image, explicit views, implicit maps, gates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.model.nested_attention import VIEWS
from lemore_core.render import FONT, legend, overlay
from lemore_core.research.inspection.findings import (
    ExplicitViews,
    Floats,
    ImplicitMaps,
    Inspection,
    InspectionError,
)
from lemore_core.system.files import atomic_write

Pixels = NDArray[np.uint8]

PANEL, LARGE, GAP = 360, 480, 12
WHITE, INK, MARK = 255, (20, 20, 20), (255, 60, 60)
OVERLAY, HEAT = 0.6, 0.65
# a few extreme entries would leave no colours for the others
MOST = 99


class Panel(NamedTuple):
    """An image RGB (H, W, 3) uint8 and the line that stands over it."""

    image: Pixels
    caption: str


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
    sheets = {'image': _image_sheet(inspection)}
    if inspection.encoders:
        sheets['explicit_views'] = _explicit_sheet(inspection)
    if inspection.blocks:
        sheets['implicit_maps'] = _point_sheet(inspection)
        sheets['attention_received'] = _received_sheet(inspection)
    sheets['gates'] = _gates_sheet(inspection)
    return [_write(folder / f'{name}.png', sheet) for name, sheet in sheets.items()]


def heat_over(
    image: Pixels, values: Floats, low: float, high: float, *, cells: bool = False
) -> Pixels:
    """Return ``values`` (h, w) from ``low`` to ``high`` as a heat map over the grey ``image``.

    ``image`` and the result are RGB (H, W, 3) uint8. The map is brought to the image's size:
    bilinearly, or as ``cells`` of one colour each.
    """
    height, width = image.shape[:2]
    interpolation = cv2.INTER_NEAREST if cells else cv2.INTER_LINEAR
    enlarged = np.asarray(cv2.resize(values, (width, height), interpolation=interpolation))
    steps = np.clip((enlarged - low) / max(high - low, 1e-30), 0, 1) * 255
    colors = cv2.applyColorMap(np.rint(steps).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(grey, 1 - HEAT, colors, HEAT, 0), np.uint8)


def signed(values: Floats, reach: float) -> Pixels:
    """Return ``values`` (H, W) from -``reach`` (blue) over 0 (white) to ``reach`` (red), RGB."""
    places = (-1, 0, 1)
    relative = values / (reach or 1.0)
    red, green, blue = ((33, 246, 165), (70, 246, 20), (170, 246, 40))
    channels = [np.interp(relative, places, ends) for ends in (red, green, blue)]
    return np.asarray(np.rint(np.stack(channels, axis=-1)), np.uint8)


def compose(title: str, notes: Sequence[str], rows: Sequence[Sequence[Panel]]) -> Pixels:
    """Return a sheet, RGB (H, W, 3) uint8: the title, the notes below it, then rows of panels."""
    parts = [_text(title, 0.8), *map(_text, notes)]
    parts += [
        _joined([_joined([_text(one.caption), one.image], axis=0) for one in row], axis=1)
        for row in rows
    ]
    return np.pad(_joined(parts, axis=0), ((GAP, 0), (GAP, 0), (0, 0)), constant_values=WHITE)


def fit(image: Pixels, side: int = PANEL, *, cells: bool = False) -> Pixels:
    """Return ``image`` resized so that its longer side is ``side`` pixels, its aspect kept.

    ``cells`` keeps the pixels of a small image squares, for a matrix.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    enlarging = cv2.INTER_NEAREST if cells else cv2.INTER_LINEAR
    interpolation = cv2.INTER_AREA if scale < 1 else enlarging
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


def _image_sheet(inspection: Inspection) -> Pixels:
    colored = overlay(
        inspection.image, 'rgb8', inspection.labels, inspection.taxonomy.palette, OVERLAY
    )
    height, width = inspection.network_size
    notes = [f'seen by the network at {width} x {height}']
    if inspection.missing:
        notes.append(f'not in this network: {", ".join(inspection.missing)}')
    panels = [Panel(fit(inspection.image, LARGE), 'image'), Panel(fit(colored, LARGE), 'labels')]
    classes = Panel(legend(inspection.taxonomy, 2 * LARGE), 'classes')
    return compose(inspection.model, notes, [panels, [classes]])


def _explicit_sheet(inspection: Inspection) -> Pixels:
    notes = [
        (
            'energy of a view: its mean absolute response, dark at the 1st percentile of the map, '
            'bright at the 99th; per cent: its share of the sum'
        ),
        (
            'W mixes columns (frontal) or rows (lateral): a row of W weighs what makes one of them; '
            'blue is negative, red positive'
        ),
    ]
    rows = [_encoder_row(inspection.image, views) for views in inspection.encoders]
    return compose(f'{inspection.model}: explicit views', notes, rows)


def _encoder_row(image: Pixels, views: ExplicitViews) -> list[Panel]:
    panels = []
    for view, energy in views.energies.items():
        low, high = np.percentile(energy, (100 - MOST, MOST))
        heat = heat_over(image, energy, float(low), float(high))
        caption = f'{views.name} {view}: {views.strengths[view]:.0%}, mean {energy.mean():.3g}'
        panels.append(Panel(fit(heat), caption))
    side = min(fit(image).shape[:2])
    for view, weight in views.mixing.items():
        reach = float(np.percentile(np.abs(weight), MOST))
        panels.append(
            Panel(fit(signed(weight, reach), side, cells=True), f'W {view}: to {reach:.2g}')
        )
    return panels


def _point_sheet(inspection: Inspection) -> Pixels:
    x, y = inspection.point
    notes = [
        (
            f'from the token of the point {x} {y} (framed), mean over the heads; over each map its '
            'peak; bright is the peak of the nine maps of the block'
        )
    ]
    rows = [
        row
        for block in inspection.blocks
        for row in _grid_rows(inspection, block, block.seen_from(inspection.token), marked=True)
    ]
    return compose(f'{inspection.model}: implicit maps', notes, rows)


def _received_sheet(inspection: Inspection) -> Pixels:
    notes = [
        (
            'mean over the tokens that attend, and over the heads; over each map its peak; bright is '
            'the peak of the nine maps of the block'
        )
    ]
    rows = [
        row
        for block in inspection.blocks
        for row in _grid_rows(inspection, block, block.received(), marked=False)
    ]
    return compose(f'{inspection.model}: attention received', notes, rows)


def _gates_sheet(inspection: Inspection) -> Pixels:
    low = min(float(gate.min()) for gate in inspection.gates)
    high = max(float(gate.max()) for gate in inspection.gates)
    panels = [
        Panel(
            fit(heat_over(inspection.image, gate, low, high), LARGE),
            f'1/{4 * 2**index}: mean {gate.mean():.2f}, {gate.min():.2f} to {gate.max():.2f}',
        )
        for index, gate in enumerate(inspection.gates)
    ]
    notes = [f'how much of a stage passes, mean over the channels: {low:.2f} to {high:.2f}']
    return compose(f'{inspection.model}: gates', notes, [panels[:2], panels[2:]])


def _grid_rows(
    inspection: Inspection, block: ImplicitMaps, maps: Floats, *, marked: bool
) -> list[list[Panel]]:
    """Return three rows of three maps; beside them the image, and the mean of the nine."""
    high = float(maps.max())

    def panel(values: Floats, name: str) -> Panel:
        heat = fit(heat_over(inspection.image, values, 0.0, high, cells=True))
        return Panel(_marked(heat, inspection) if marked else heat, f'{name}: {values.max():.3f}')

    grid = [
        [panel(maps[i, j], f'block {block.block} Q{i + 1}K{j + 1}') for j in range(VIEWS)]
        for i in range(VIEWS)
    ]
    image = fit(inspection.image)
    grid[0].append(Panel(_marked(image, inspection) if marked else image, 'image'))
    grid[1].append(panel(maps.mean(axis=(0, 1), dtype=np.float32), 'psi, mean'))
    return grid


def _marked(shown: Pixels, inspection: Inspection) -> Pixels:
    """Return an image of any size with the point dotted and its token's cell framed."""
    marked = shown.copy()
    (height, width), (rows, columns) = shown.shape[:2], inspection.blocks[0].grid
    row, column = inspection.token
    start = (round(column * width / columns), round(row * height / rows))
    end = (round((column + 1) * width / columns) - 1, round((row + 1) * height / rows) - 1)
    cv2.rectangle(marked, start, end, MARK, 1)
    scale = width / inspection.image.shape[1]
    x, y = (int((place + 0.5) * scale) for place in inspection.point)
    cv2.drawMarker(marked, (x, y), MARK, cv2.MARKER_CROSS, GAP, 2)
    return marked


def _text(text: str, scale: float = 0.5) -> Pixels:
    """Return a line of text (ASCII), dark on white."""
    (width, _), _ = cv2.getTextSize(text, FONT, scale, 1)
    line = np.full((round(50 * scale), width + GAP, 3), WHITE, np.uint8)
    cv2.putText(line, text, (2, round(34 * scale)), FONT, scale, INK, 1, cv2.LINE_AA)
    return line


def _joined(parts: Sequence[Pixels], axis: int) -> Pixels:
    """Return parts below (axis 0) or beside (axis 1) one another on white, with gaps."""
    most = max(part.shape[1 - axis] for part in parts)
    padded = []
    for part in parts:
        gaps = [(0, 0)] * 3
        gaps[axis], gaps[1 - axis] = (0, GAP), (0, most - part.shape[1 - axis])
        padded.append(np.pad(part, gaps, constant_values=WHITE))
    return np.concatenate(padded, axis=axis)


def _write(path: Path, sheet: Pixels) -> Path:
    with atomic_write(path) as temporary:
        if not cv2.imwrite(str(temporary), sheet[..., ::-1]):
            msg = f'{path} cannot be written'
            raise OSError(msg)
    return path
