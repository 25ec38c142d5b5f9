"""Run every target in a process of its own and print a table: ``--seconds 600``.

Inputs mutate the seeds (by atheris where it is installed); one that fails is kept in seeds/TARGET.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import os
import random
import resource
import shutil
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE)]

HANGS_S, SLOW_S, MUCH_MB = 10, 1, 256
# shares of the time: slow targets get as many inputs as others
SHARES = {'bag': 4, 'arguments': 3}


class Fuzzer:
    """One target, which gets inputs until the time is over."""

    def __init__(self, name: str, seconds: float, last: Path | None) -> None:
        import targets
        import torch  # noqa: F401 - an import counts for no input

        self._name, self._target = name, targets.TARGETS[name]
        self.seeds, self.folder = targets.seeds(name), targets.FOLDER
        self._last = last or self.folder / 'last'
        os.environ['XDG_CACHE_HOME'] = str(self.folder)
        os.chdir(self.folder)
        self._base, self._end = peak_mb(), time.monotonic() + seconds
        self._watched, self._inputs, self._worst_ms, self._failures = 0.0, 0, 0.0, dict[str, int]()

    def try_one(self, data: bytes) -> None:
        """Run the target, and keep an input that fails, is slow, or takes much memory."""
        now = time.monotonic()
        if now > self._end:
            self._finish()
        if now > self._watched + 1:
            faulthandler.dump_traceback_later(HANGS_S, exit=True)
            self._watched = now
        self._last.write_bytes(data)
        started, used, peak = time.perf_counter(), time.process_time(), peak_mb()
        try:
            self._target(data)
        except Exception as error:  # noqa: BLE001 - every error is a failure
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f'{Path(where.filename).name}:{where.lineno}'
            self._fail(data, f'{type(error).__name__} in {place}')
        self._inputs += 1
        self._worst_ms = max(self._worst_ms, 1e3 * (time.perf_counter() - started))
        if time.process_time() - used > SLOW_S and self._is_slow(data):
            self._fail(data, f'more than {SLOW_S} s of the processor')
        if peak_mb() - peak > MUCH_MB:
            self._fail(data, f'more than {MUCH_MB} MB')

    def _is_slow(self, data: bytes) -> bool:
        """Return whether an input takes long once more: the first call of a command imports."""
        used = time.process_time()
        with suppress(Exception):
            self._target(data)
        return time.process_time() - used > SLOW_S

    def _fail(self, data: bytes, reason: str) -> None:
        if reason not in self._failures:
            keep(self._name, data)
        self._failures[reason] = self._failures.get(reason, 0) + 1

    def _finish(self) -> NoReturn:
        failures, gained = sum(self._failures.values()), peak_mb() - self._base
        figures = f'{self._inputs:,} | {failures} | {self._worst_ms:.0f} | {gained:.0f}'
        print(f'| {self._name} | {figures} |', flush=True)
        for reason, count in self._failures.items():
            print(f'    {count}: {reason}', flush=True)
        self._last.unlink()
        shutil.rmtree(self.folder)
        # atheris would not let it end otherwise
        os._exit(int(failures > 0))


def keep(name: str, data: bytes) -> None:
    """Make an input a seed."""
    path = HERE / 'seeds' / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def run(name: str, seconds: float, last: Path | None) -> NoReturn:
    """Try the seeds, then mutations of them, until the time is over."""
    if find_spec('atheris'):
        import atheris

        with atheris.instrument_imports(include=['lemore_core', 'lemore_ros']):
            fuzzer = Fuzzer(name, seconds, last)
        corpus = fuzzer.folder / 'corpus'
        corpus.mkdir()
        for number, data in enumerate(fuzzer.seeds):
            (corpus / str(number)).write_bytes(data)
        options = ['-rss_limit_mb=4096', '-max_len=20000', '-verbosity=0', str(corpus)]
        atheris.Setup([sys.argv[0], *options], fuzzer.try_one)
        atheris.Fuzz()
    from targets import mutated

    fuzzer, draw = Fuzzer(name, seconds, last), random.Random(0)
    for data in fuzzer.seeds:
        fuzzer.try_one(data)
    while True:
        fuzzer.try_one(mutated(draw.choice(fuzzer.seeds), draw))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Run the targets; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('targets', nargs='*', help='only these; one runs in this process')
    parser.add_argument('--seconds', type=float, default=600.0, help='for all targets together')
    parser.add_argument('--last', type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if len(options.targets) == 1:
        run(options.targets[0], options.seconds, options.last)
    from targets import FOLDER, TARGETS

    names, failed = options.targets or list(TARGETS), False
    total = sum(SHARES.get(name, 1) for name in names)
    print('| target | inputs | failures | slowest, ms | memory gained, MB |')
    print('|---|---|---|---|---|', flush=True)
    for name in names:
        seconds = options.seconds * SHARES.get(name, 1) / total
        last = FOLDER / 'last'
        command = [sys.executable, __file__, name, '--seconds', str(seconds), '--last', str(last)]
        done = subprocess.run(command, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            failed = True
            if last.exists():  # it did not come to its end
                keep(name, last.read_bytes())
            print(done.stderr.decode(errors='replace')[-2000:], file=sys.stderr)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
