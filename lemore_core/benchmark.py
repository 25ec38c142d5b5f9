"""Benchmark the steps from an image's bytes to its labels, for models and backends side by side.

All cases are measured in one run, interleaved, since machines are shared and noisy.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

import lemore_core
from lemore_core import inference
from lemore_core.common.errors import LemoreError
from lemore_core.common.memory import thread_counts
from lemore_core.export import STREET
from lemore_core.export.onnx_file import read_model_card
from lemore_core.images.files import decode_image, read_bytes
from lemore_core.images.image import Image, Pixels, to_rgb
from lemore_core.inference import AUTO, Backend, ServingRequest, Status
from lemore_core.inference.sizes import network_size
from lemore_core.segmentation import STEPS
from lemore_core.segmenter import resolve_checkpoint
from lemore_core.segmenter_options import SegmenterOptions
from lemore_core.sources import open_sources

ENCODING = 'bgr8'  # what most cameras of robots send
SIZE = (540, 960)
FORMAT, VERSION = 'lemore benchmark', 3
CPUINFO = Path('/proc/cpuinfo')
LIBRARY = re.compile('torch|numba|numpy|onnxruntime(-gpu)?|opencv-.*|tensorrt(-rtx)?(-cu[0-9]+)?')

K = TypeVar('K')
R = TypeVar('R')
Row = dict[str, Any]  # of the JSON document


class BenchmarkError(LemoreError):
    """A case that cannot be measured on this machine, or at all."""


@dataclass(frozen=True)
class Case:
    """A model with its backend and precision, and images of size ``image`` (height, width)."""

    options: SegmenterOptions
    image: tuple[int, int]

    def name(self, loaded: Status | SegmenterOptions) -> str:
        """Name the case by its options, or by the status of the backend that was loaded."""
        words = [Path(self.options.model).name, loaded.backend]
        words += [word for word in (loaded.device, loaded.precision) if word != AUTO]
        batch = f' x {self.options.batch}' if self.options.batch > 1 else ''
        return f'{" ".join(words)}, {format_size(self.image)}{batch}'

    def request(self) -> ServingRequest:
        """Return the request to the backend, with the network size that a Segmenter takes."""
        asked = self.options
        path = resolve_checkpoint(asked.model, asked.dataset)
        card = read_model_card(path)
        size = (card.config.height, card.config.width)
        if path.suffix != '.onnx':
            size = asked.size or network_size(size, self.image)
            card.config.for_size(*size)  # refuses what is out of bounds
        return ServingRequest(
            path, *size, device=asked.device, precision=asked.precision, batch=asked.batch
        )


def steps_row(
    case: Case, status: Status, calls: Sequence[tuple[float, Mapping[str, float]]]
) -> Row:
    """Return the row of the milliseconds of ``calls``, whole and by step, for JSON.

    A call segments ``batch`` images. ``steps_ms`` has the ``STEPS`` that the backend reports,
    ``over_network`` is the median of the whole over that of the network.
    """
    whole = percentiles([milliseconds for milliseconds, _ in calls])
    steps = {step: percentiles([by[step] for _, by in calls]) for step in calls[0][1]}
    network = steps.get('network')
    return {
        'name': case.name(status),
        'model': case.options.model,
        **{name: getattr(status, name) for name in ('backend', 'device', 'precision', 'degraded')},
        'batch': case.options.batch,
        'image': format_size(case.image),
        'network': format_size(case.request().size),
        'calls': len(calls),
        'total_ms': whole,
        'steps_ms': steps,
        'images_per_second': 1e3 * case.options.batch / whole['median'],
        'over_network': None if network is None else whole['median'] / network['median'],
        'kind': 'steps',
    }


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return median and 95th percentile of at least one value, between the two nearest."""
    return dict(zip(('median', 'p95'), np.percentile(values, (50, 95)).tolist(), strict=True))


def measure_steps(cases: Sequence[Case], path: Path | None, repeats: int) -> list[Row]:
    """Time the steps of every case, interleaved; ``path`` is as for :func:`read_image`.

    A case that cannot be measured has a row of the kind ``skipped``, with the reason.
    """
    from lemore_core.inference.cpu.decode import wait_until_compiled

    image = read_image(path)
    loaded: dict[Case, Backend] = {}
    skipped: list[Row] = []
    for case in cases:
        try:
            loaded[case] = inference.load(case.options.backend, case.request())
            wait_until_compiled()
        except LemoreError as error:  # noqa: PERF203 - the others are measured
            name = case.name(case.options)
            skipped.append({'case': name, 'reason': str(error), 'kind': 'skipped'})
    if not loaded:
        reasons = dict.fromkeys(one['reason'] for one in skipped)
        msg = f'nothing can be measured: {"; ".join(reasons)}'
        raise BenchmarkError(msg)
    bar = tqdm(range(repeats), desc='repeats', leave=False, disable=None)
    calls = {
        case: partial(segment_once, backend, [at_size(image, *case.image)] * case.options.batch)
        for case, backend in loaded.items()
    }
    timed = interleaved(calls, bar)
    rows = [steps_row(case, loaded[case].status, timed[case]) for case in loaded]
    return [*rows, *skipped]


def segment_once(backend: Backend, images: Sequence[Image]) -> Counter[str]:
    """Segment images; return the milliseconds of the steps that the backend reports."""
    found: Counter[str] = Counter()
    for result in backend.segment(images):
        found.update(result.timings.steps)  # adds up
    return found


def interleaved(
    calls: Mapping[K, Callable[[], R]], repeats: Iterable[object]
) -> dict[K, list[tuple[float, R]]]:
    """Make every call once a repeat; return the milliseconds and result of each.

    Interleaving lets a busy moment of the machine fall on all calls alike. A call that is not
    counted goes before each, and before the whole. ``repeats`` may show its progress.
    """
    for call in calls.values():
        call()
    timed: dict[K, list[tuple[float, R]]] = {name: [] for name in calls}
    for _ in repeats:
        for name, call in calls.items():
            # the threads of the call before may still spin for work, and its data fill the caches
            call()
            started = time.perf_counter()
            returned = call()
            timed[name].append((1e3 * (time.perf_counter() - started), returned))
    return timed


def read_image(path: Path | None) -> Pixels:
    """Return an image, or the first of a video or bag, BGR (H, W, 3) uint8; without a path a street."""
    if path is None:
        return at_size(decode_image(read_bytes(STREET), order='BGR'), *SIZE).pixels
    source, *_ = open_sources([path])
    frame = next(source.frames(), None)
    if frame is None:
        msg = '; '.join([f'{path} has no image', *source.errors])
        raise BenchmarkError(msg)
    image = to_rgb(frame.image.pixels, frame.image.encoding)
    return np.ascontiguousarray(image[..., ::-1])


def at_size(image: Pixels, height: int, width: int) -> Image:
    """Return the image resized to a camera's size."""
    if image.shape[:2] != (height, width):
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    return Image(image, ENCODING)


def machine_facts() -> dict[str, str]:
    """Describe processor, GPU and libraries; after a measurement also its threads."""
    text = CPUINFO.read_text(encoding='utf-8') if CPUINFO.is_file() else ''
    match = re.search(r'^(?:model name|Model|Hardware)\s*:\s*(.+)$', text, re.MULTILINE)
    cpu = match[1] if match else platform.processor() or platform.machine()
    # loaded by then, if the measurement used them
    runtime = sys.modules.get('lemore_core.inference.onnxruntime_backend')
    threads = runtime.chosen_threads.get(thread_counts()) if runtime else None
    torch = sys.modules.get('torch')
    installed = {d.metadata['Name']: d.version for d in distributions()}
    versions = [f'{name} {installed[name]}' for name in installed if LIBRARY.fullmatch(name)]
    facts = {
        'CPU': f'{cpu}, {thread_counts()[-1]} usable',
        'ONNX Runtime threads': str(threads or ''),
        'load': f'{os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else '',
        'GPU': torch.cuda.get_device_name() if torch and torch.cuda.is_available() else 'none',
        'system': f'{platform.system()} {platform.machine()}, Python {platform.python_version()}',
        'libraries': ', '.join([f'lemore {lemore_core.__version__}', *sorted(versions)]),
    }
    return {name: value for name, value in facts.items() if value}


def document(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the JSON document: format, version, machine, and rows told apart by ``kind``."""
    return {'format': FORMAT, 'version': VERSION, 'machine': machine_facts(), 'rows': rows}


def table(rows: Sequence[Row]) -> str:
    """Return a text table of the measured rows, and a line for each case that was skipped."""
    heading = ('case', 'step', 'median ms', 'p95 ms', '/ network', 'images/s', 'calls')
    lines = [heading, *(line for row in rows if row['kind'] == 'steps' for line in _lines(row))]
    skipped = [
        f'not measured: {row["case"]}: {row["reason"]}' for row in rows if row['kind'] == 'skipped'
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    layout = '  '.join(f'{{:{"<" if i < 2 else ">"}{width}}}' for i, width in enumerate(widths))
    return '\n'.join([*(layout.format(*line).rstrip() for line in lines), *skipped])


def _lines(row: Row) -> list[tuple[str, ...]]:
    """Return the cells of a row: one line a step, and one for the whole."""
    network = row['steps_ms'].get('network')
    titles = [row['name'], f'  network at {row["network"]}', f'  {row["degraded"]}']
    titles += [''] * len(STEPS)
    times = {**row['steps_ms'], 'whole': row['total_ms']}
    lines: list[tuple[str, ...]] = []
    for title, (step, took) in zip(titles, times.items(), strict=False):
        median, p95 = took['median'], took['p95']
        share = '' if network is None else f'{median / network["median"]:.2f}'
        rate = (
            (f'{row["images_per_second"]:.1f}', str(row['calls'])) if step == 'whole' else ('', '')
        )
        lines.append((title, step, f'{median:.2f}', f'{p95:.2f}', share, *rate))
    return lines


def format_size(size: tuple[int, int]) -> str:
    """Write (height, width) as WIDTHxHEIGHT."""
    return f'{size[1]}x{size[0]}'
