"""How much memory a loaded Segmenter takes, and whether it grows with the images."""

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

from lemore_core.benchmark.cases import Case
from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.benchmark.images import at_size, read_image
from lemore_core.benchmark.percentiles import robust_slope
from lemore_core.system.memory import process_memory

FIRST_IMAGES = 5
SAMPLES = 50


@dataclass(frozen=True)
class MemoryRow:
    """The memory of a process that loads a Segmenter and segments images, in megabytes.

    ``libraries_mb`` is resident with every library imported that serving the model comes to
    import; ``loaded_mb`` with the Segmenter, ``first_mb`` after the first images, ``last_mb``
    after the last one. ``growth_mb`` is the slope over 1,000 images after the first ones, which
    a single jump does not move. ``peak_gpu_mb`` is what PyTorch took of the GPU, None without one.
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
        line = {
            'memory in MB': self.name,
            'libraries': f'{self.libraries_mb:.0f}',
            'loaded': f'{self.loaded_mb:.0f}',
            'first images': f'{self.first_mb:.0f}',
            'last image': f'{self.last_mb:.0f}',
            'over libraries': f'{self.over_libraries_mb:.0f}',
            'per 1,000 images': f'{self.growth_mb:+.2f}',
            'peak': f'{self.peak_mb:.0f}',
            'images': str(self.images),
        }
        return [line]


def measure_memory(case: Case, image: Path | None, images: int = FIRST_IMAGES) -> MemoryRow:
    """Watch the memory of a fresh process that loads a case and segments ``images`` images.

    ``image`` is as for :func:`~lemore_core.benchmark.images.read_image`.

    Raises:
        LemoreError: the case cannot be loaded, or the process ends early.

    """
    # a first process finds out what serving the model imports, sooner or later: the libraries
    modules, first = _in_fresh_process(case, image, FIRST_IMAGES, ())
    return first if images <= FIRST_IMAGES else _in_fresh_process(case, image, images, modules)[1]


def _in_fresh_process(
    case: Case, image: Path | None, images: int, modules: Sequence[str]
) -> tuple[list[str], MemoryRow]:
    spawn = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, spawn) as executor:
        try:
            return executor.submit(_watch, case, image, images, modules).result()
        except BrokenProcessPool as error:
            msg = f'the memory of {case} cannot be measured: its process ended early'
            raise BenchmarkError(msg) from error


def _watch(
    case: Case, image: Path | None, images: int, modules: Sequence[str]
) -> tuple[list[str], MemoryRow]:
    """Return the modules that were imported, and the memory at each stage."""
    for name in modules:
        # some exist only inside others, or ask for what is not installed
        with suppress(Exception):
            importlib.import_module(name)
    batch = [at_size(read_image(image), *case.image)] * case.batch
    libraries = process_memory().resident_mb
    segmenter = case.load()
    loaded = process_memory().resident_mb
    marks = {FIRST_IMAGES, images, *(images * i // SAMPLES for i in range(1, SAMPLES + 1))}
    done, resident = 0, {}
    with tqdm(total=images, unit='image', desc=str(case), leave=False, disable=None) as bar:
        for mark in sorted(mark for mark in marks if mark >= FIRST_IMAGES):
            while done < mark:
                done += len(segmenter.segment_batch(batch))
            bar.update(done - bar.n)
            resident[done] = process_memory().resident_mb
    torch = sys.modules.get('torch')
    has_gpu = torch is not None and torch.cuda.is_available()
    row = MemoryRow(
        name=case.name(segmenter.status),
        libraries_mb=libraries,
        loaded_mb=loaded,
        first_mb=next(iter(resident.values())),
        last_mb=resident[done],
        over_libraries_mb=resident[done] - libraries,
        growth_mb=1e3 * robust_slope(list(resident), list(resident.values())),
        peak_mb=process_memory().peak_mb,
        peak_gpu_mb=torch.cuda.max_memory_allocated() / 1e6 if torch and has_gpu else None,
        images=done,
    )
    return [name for name in sys.modules if not name.startswith(('lemore_core', '__main__'))], row
