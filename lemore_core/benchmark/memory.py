"""How much memory a loaded network takes, and whether it grows with the images."""

from __future__ import annotations

import importlib
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from lemore_core.benchmark.cases import Case, Skipped, load_each
from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.benchmark.images import at_size, read_image
from lemore_core.common.memory import process_memory

FIRST_IMAGES = 5


@dataclass(frozen=True)
class MemoryRow:
    """The memory of a process that loads a network and segments images, in megabytes.

    ``libraries_mb`` is resident with every library imported that serving the model comes to
    import; ``loaded_mb`` with the network, ``first_mb`` after the first images, ``last_mb``
    after the last one. ``growth_mb`` is the growth over 1,000 images in the later half, when pools
    have their size. ``peak_gpu_mb`` is what PyTorch took of the GPU, None without one.
    """

    kind = 'memory'
    name: str
    libraries_mb: float
    loaded_mb: float
    first_mb: float
    last_mb: float
    over_libraries_mb: float
    growth_mb: float
    peak_mb: float
    peak_gpu_mb: float | None
    images: int

    def lines(self) -> list[dict[str, str]]:
        """Return it by the columns of a table."""
        megabytes = {
            'libraries': self.libraries_mb,
            'loaded': self.loaded_mb,
            'first images': self.first_mb,
            'last image': self.last_mb,
            'over libraries': self.over_libraries_mb,
            'peak': self.peak_mb,
        }
        return [
            {
                'memory in MB': self.name,
                **{name: f'{value:.0f}' for name, value in megabytes.items()},
                'per 1,000 images': f'{self.growth_mb:+.2f}',
                'images': str(self.images),
            }
        ]


def measure_memories(
    cases: Sequence[Case], path: Path | None, images: int
) -> list[MemoryRow | Skipped]:
    """Watch the memory of a fresh process for every case, over so many images.

    ``path`` is as for :func:`~lemore_core.benchmark.images.read_image`.

    Raises:
        BenchmarkError: no case can be loaded.
    """
    rows, skipped = load_each(cases, lambda case: _measure(case, path, images))
    return [*(row for _, row in rows), *skipped]


def _measure(case: Case, path: Path | None, images: int) -> MemoryRow:
    case.request()  # refuses here what no process need be started for
    # a first process finds out what serving the model imports, sooner or later: the libraries
    modules, _ = _in_fresh_process(case, path, FIRST_IMAGES, ())
    return _in_fresh_process(case, path, images, modules)[1]


def _in_fresh_process(
    case: Case, path: Path | None, images: int, modules: Sequence[str]
) -> tuple[list[str], MemoryRow]:
    spawn = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, spawn) as executor:
        try:
            return executor.submit(_watch, case, path, images, modules).result()
        except BrokenProcessPool as error:
            msg = f'the memory of {case} cannot be measured: its process ended early'
            raise BenchmarkError(msg) from error


def _watch(
    case: Case, path: Path | None, images: int, modules: Sequence[str]
) -> tuple[list[str], MemoryRow]:
    """Return the modules that were imported, and the memory at each stage."""
    for name in modules:
        # some exist only inside others, or ask for what is not installed
        with suppress(Exception):
            importlib.import_module(name)
    batch = [at_size(read_image(path), *case.image)] * case.options.batch
    libraries = process_memory().resident_mb
    backend = case.load()
    loaded = process_memory().resident_mb
    resident: list[tuple[int, float]] = []
    done = 0
    with tqdm(total=images, unit='image', desc=str(case), leave=False, disable=None) as bar:
        for mark in (FIRST_IMAGES, images // 2, images):
            while done < mark:
                done += len(backend.segment(batch))
                bar.update(len(batch))
            resident.append((done, process_memory().resident_mb))
    (_, first), (middle, half), (_, last) = resident
    torch = sys.modules.get('torch')
    has_gpu = torch is not None and torch.cuda.is_available()
    row = MemoryRow(
        name=case.name(backend.status),
        libraries_mb=libraries,
        loaded_mb=loaded,
        first_mb=first,
        last_mb=last,
        over_libraries_mb=last - libraries,
        growth_mb=1e3 * (last - half) / max(done - middle, 1),
        peak_mb=process_memory().peak_mb,
        peak_gpu_mb=torch.cuda.max_memory_allocated() / 1e6 if torch and has_gpu else None,
        images=done,
    )
    return [name for name in sys.modules if not name.startswith(('lemore_core', '__main__'))], row
