"""The process whose memory is watched: imports, loads, labels, and reports after each."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemore_core.errors import LemoreError
from lemore_core.system.process_memory import process_memory

if TYPE_CHECKING:
    from lemore_core.benchmark.cases import Case

FIRST = 5
OWN = 'lemore_core'


def main(argv: Sequence[str]) -> int:
    """Do what a JSON object orders and print a JSON object a line for each stage."""
    order = json.loads(argv[0])
    import_all(order['modules'])
    from lemore_core.benchmark.cases import Case

    case = dict(order['case'])
    case['image'] = tuple(case['image'])
    case['network'] = case['network'] and tuple(case['network'])
    image = None if order['image'] is None else Path(order['image'])
    try:
        watch(Case(**case), image, order['images'], order['samples'])
    except LemoreError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def import_all(modules: Sequence[str]) -> None:
    """Import those of the modules that can be imported by themselves."""
    for name in modules:
        # some exist only inside others, or ask for what is not installed
        with suppress(Exception):
            importlib.import_module(name)


def watch(case: Case, image: Path | None, images: int, samples: int) -> None:
    """Load a case, label images, and report so many times along the way.

    Raises:
        LemoreError: it cannot be loaded, or fails on an image.

    """
    from lemore_core.benchmark.images import at_size, read_image

    batch = [at_size(read_image(image), *case.image)] * case.batch
    report('libraries')
    segmenter = case.load()
    report('loaded')
    marks = {FIRST, images, *(images * i // samples for i in range(1, samples + 1))}
    marks = {mark for mark in marks if FIRST <= mark <= images} | {images}
    done = 0
    for mark in sorted(marks):
        while done < mark:
            done += len(segmenter.segment_batch(batch))
        status = segmenter.status
        served = [status.backend, status.device, status.precision]
        last = {'modules': libraries()} if mark == max(marks) else {}
        report('labelled', images=done, served=served, **last)


def libraries() -> list[str]:
    """Return the names of all imported modules that are not this package's, the first first."""
    return [name for name in sys.modules if name.partition('.')[0] not in (OWN, '__main__')]


def report(stage: str, **more: Any) -> None:
    """Print the memory of this moment."""
    memory = process_memory()
    torch = sys.modules.get('torch')
    gpu = None
    if torch is not None and torch.cuda.is_available():
        gpu = torch.cuda.max_memory_allocated() / 1e6
    line = {
        'stage': stage,
        'resident_mb': memory.resident_mb,
        'peak_mb': memory.peak_mb,
        'gpu_mb': gpu,
        **more,
    }
    print(json.dumps(line), flush=True)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
