"""Runs every target for a while, and writes what happened into docs/reliability.md.

    python test/reliability/fuzz --seconds 600

Each target runs in a process of its own, which may crash; what fails is kept in seeds/TARGET.
Inputs are mutations of the seeds, by atheris where it is installed, else at random.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
SEEDS = Path(__file__).parent / 'seeds'
PAGE = ROOT / 'docs' / 'reliability.md'
BEGIN, END = '<!-- fuzz -->', '<!-- /fuzz -->'
HANGS_S, SLOW_S, MUCH_MB = 10, 1, 256
EVERY = 100  # inputs between two reports
# shares of the time: what takes longest for an input gets as many as others
SHARES = {'bag': 4, 'arguments': 3}


@dataclass
class Row:
    """What happened to a target."""

    target: str
    inputs: int = 0
    failures: int = 0
    worst_ms: float = 0.0
    peak_mb: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        figures = f'{self.inputs:,} | {self.failures} | {self.worst_ms:.0f} | {self.peak_mb:.0f}'
        return f'| {self.target} | {figures} |'


class Child:
    """One target, fed with inputs until the time is over."""

    def __init__(self, name: str, seed: int, seconds: float, last: Path) -> None:
        from targets import TARGETS, mutated, seeds

        self._run, self._seeds, self._mutated = TARGETS[name], seeds(name), mutated
        self._random, self._last = random.Random(seed), last
        # what one input imports is no work of that input
        import torch  # noqa: F401

        os.chdir(last.parent)
        self._base, self._end = _rss_mb(), time.monotonic() + seconds
        self.row = Row(name)

    def try_one(self, data: bytes) -> None:
        """Run the target, and keep what fails, is slow, or takes much memory."""
        self._last.write_bytes(data)
        started, used, peak = time.perf_counter(), time.process_time(), _rss_mb()
        signal.alarm(HANGS_S)
        try:
            self._run(data)
        except Exception as error:  # noqa: BLE001 - whatever it raises is a finding
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._fail(
                data, f'{type(error).__name__} in {Path(where.filename).name}:{where.lineno}'
            )
        finally:
            signal.alarm(0)
        self.row.inputs += 1
        self.row.peak_mb = _rss_mb() - self._base
        self.row.worst_ms = max(self.row.worst_ms, 1e3 * (time.perf_counter() - started))
        # the first input imports
        if self.row.inputs > 1 and time.process_time() - used > SLOW_S:
            self._fail(data, f'more than {SLOW_S} s of the processor')
        if _rss_mb() - peak > MUCH_MB:
            self._fail(data, f'more than {MUCH_MB} MB')
        if self.row.inputs % EVERY == 0:
            print(json.dumps(asdict(self.row)), flush=True)

    def _fail(self, data: bytes, reason: str) -> None:
        self.row.failures += 1
        if reason not in self.row.reasons:
            keep(self.row.target, data)
        self.row.reasons[reason] = self.row.reasons.get(reason, 0) + 1

    def run(self) -> None:
        """Try the seeds, then mutations of them."""
        for data in self._seeds:
            self.try_one(data)
        while time.monotonic() < self._end:
            self.try_one(self._mutated(self._random.choice(self._seeds), self._random))
        print(json.dumps(asdict(self.row)), flush=True)

    def run_atheris(self, corpus: Path) -> None:
        """Have atheris choose the inputs, by which lines they reach; does not return."""
        import atheris

        corpus.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(self._seeds):
            (corpus / str(number)).write_bytes(data)
        left = max(1, round(self._end - time.monotonic()))
        options = [
            f'-max_total_time={left}',
            '-rss_limit_mb=4096',
            '-max_len=20000',
            '-verbosity=0',
        ]
        atheris.Setup([sys.argv[0], *options, str(corpus)], self.try_one)
        atheris.Fuzz()


def keep(name: str, data: bytes) -> None:
    """Make an input a seed, for good."""
    (SEEDS / name).mkdir(parents=True, exist_ok=True)
    (SEEDS / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def fuzz(name: str, seed: int, seconds: float, engine: str, folder: Path) -> Row:
    """Run a target in another process, and say how it went."""
    last = folder / f'{name}.last'
    command = [sys.executable, __file__, '--child', name, '--last', str(last)]
    command += ['--seconds', str(seconds), '--seed', str(seed), '--engine', engine]
    with (folder / f'{name}.log').open('w') as log:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            timeout=seconds + 300,
            check=False,
            env=os.environ | {'XDG_CACHE_HOME': str(folder)},
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith(b'{')]
    row = Row(**json.loads(lines[-1])) if lines else Row(name)
    if done.returncode:
        row.failures += 1
        row.reasons[f'the process ended with {done.returncode}'] = 1
        if last.exists():
            keep(name, last.read_bytes())
    return row


def unnoticed(kind: str, damage: Callable[[bytearray, random.Random], None]) -> str:
    """Say how many of 1,000 JPEGs are decoded although they were damaged so."""
    import cv2
    import numpy as np

    from lemore_core.export.street import STREET
    from lemore_core.images.files import ImageFileError, decode_image, read_image

    street = cv2.resize(read_image(STREET), (640, 360), interpolation=cv2.INTER_AREA)
    whole = cv2.imencode('.jpg', street[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    generator, missed = random.Random(0), 0
    assert decode_image(whole).shape == np.shape(street)
    for _ in range(1000):
        data = bytearray(whole)
        damage(data, generator)
        try:
            decode_image(bytes(data))
        except ImageFileError:
            continue
        missed += 1
    return f'{kind}: {missed} of 1,000'


def zeroed(count: int) -> Callable[[bytearray, random.Random], None]:
    """Return what zeroes so many bytes behind the headers."""

    def damage(data: bytearray, generator: random.Random) -> None:
        place = generator.randrange(1000, len(data) - count - 2)
        data[place : place + count] = bytes(count)

    return damage


def flip(data: bytearray, generator: random.Random) -> None:
    """Flip a bit behind the headers."""
    data[generator.randrange(1000, len(data) - 2)] ^= 1 << generator.randrange(8)


def page(rows: list[Row], engine: str, jpegs: list[str]) -> str:
    """Return what stands between the marks of the page."""
    head = '| target | inputs | failures | slowest, ms | memory gained, MB |\n|---|---|---|---|---|'
    table = '\n'.join(str(row) for row in rows)
    return (
        f'{BEGIN}\n{head}\n{table}\n\nInputs chosen by {engine}. Damaged JPEGs that are decoded all '
        f'the same: {"; ".join(jpegs)}.\n{END}'
    )


def _rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _hang(*_: object) -> None:
    msg = f'no answer within {HANGS_S} s'
    raise TimeoutError(msg)


def main() -> int:
    """Run the targets and write the page; 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--seconds', type=float, default=600.0, help='for all targets together')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--targets', nargs='+', help='only these; the page stays as it is')
    parser.add_argument('--engine', choices=('atheris', 'random'))
    parser.add_argument('--child', help=argparse.SUPPRESS)
    parser.add_argument('--last', type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    engine = options.engine or ('atheris' if find_spec('atheris') else 'random')
    if options.child:
        signal.signal(signal.SIGALRM, _hang)
        if engine == 'atheris':
            import atheris

            with atheris.instrument_imports(include=['lemore_core', 'lemore_ros']):
                child = Child(options.child, options.seed, options.seconds, options.last)
            child.run_atheris(options.last.with_suffix('.corpus'))
        Child(options.child, options.seed, options.seconds, options.last).run()
        return 0
    from targets import FOLDER, TARGETS

    names = options.targets or list(TARGETS)
    rows, total = [], sum(SHARES.get(name, 1) for name in names)
    for name in names:
        seconds = options.seconds * SHARES.get(name, 1) / total
        row = fuzz(name, options.seed, seconds, engine, FOLDER)
        rows.append(row)
        print(
            row, *(f'\n    {count}: {reason}' for reason, count in row.reasons.items()), flush=True
        )
    if not options.targets:
        jpegs = [unnoticed(f'{n} bytes zeroed', zeroed(n)) for n in (2000, 200)]
        jpegs.append(unnoticed('a bit flipped', flip))
        text = PAGE.read_text('utf-8')
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        PAGE.write_text(before + page(rows, engine, jpegs) + after, 'utf-8')
    return int(any(row.failures for row in rows))


if __name__ == '__main__':
    sys.exit(main())
