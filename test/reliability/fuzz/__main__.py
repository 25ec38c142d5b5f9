"""Run every target for a while and print a table, as in docs/reliability.md.

    python test/reliability/fuzz --seconds 600

Each target runs in a process of its own, which may crash; an input that fails is kept in
seeds/TARGET. Inputs are mutations of the seeds, by atheris where it is installed, else at random.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import signal
import sys
import time
import traceback
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parent), str(HERE)]

from lemore_core.common.child import Child, ChildError, report  # noqa: E402

HANGS_S, SLOW_S, MUCH_MB = 10, 1, 256
START_S = 300.0
EVERY = 100  # inputs between two reports
# shares of the time: slow targets get as many inputs as others
SHARES = {'bag': 4, 'arguments': 3}


class Run:
    """One target, which gets inputs until the time is over."""

    def __init__(self, name: str, seconds: float, last: Path) -> None:
        from targets import TARGETS, mutated, seeds

        self._name, self._target = name, TARGETS[name]
        self._seeds, self._mutated, self._last = seeds(name), mutated, last
        # an import counts for no input
        import torch  # noqa: F401

        os.chdir(last.parent)
        self._base, self._end = peak_mb(), time.monotonic() + seconds
        self._inputs, self._worst_ms, self._failures = 0, 0.0, dict[str, int]()

    def try_one(self, data: bytes) -> None:
        """Run the target, and keep an input that fails, is slow, or takes much memory."""
        self._last.write_bytes(data)
        started, used, peak = time.perf_counter(), time.process_time(), peak_mb()
        signal.alarm(HANGS_S)
        try:
            self._target(data)
        except Exception as error:  # noqa: BLE001 - every error is a failure
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f'{Path(where.filename).name}:{where.lineno}'
            self._fail(data, f'{type(error).__name__} in {place}')
        finally:
            signal.alarm(0)
        self._inputs += 1
        self._worst_ms = max(self._worst_ms, 1e3 * (time.perf_counter() - started))
        # the first input imports
        if self._inputs > 1 and time.process_time() - used > SLOW_S:
            self._fail(data, f'more than {SLOW_S} s of the processor')
        if peak_mb() - peak > MUCH_MB:
            self._fail(data, f'more than {MUCH_MB} MB')
        if self._inputs % EVERY == 0:
            self._report()

    def run(self) -> None:
        """Try the seeds, then mutations of them."""
        draw = random.Random(0)
        for data in self._seeds:
            self.try_one(data)
        while time.monotonic() < self._end:
            self.try_one(self._mutated(draw.choice(self._seeds), draw))
        self._report()

    def run_atheris(self, corpus: Path) -> None:
        """Have atheris choose inputs by the lines they reach; does not return."""
        import atheris

        corpus.mkdir(exist_ok=True)
        for number, data in enumerate(self._seeds):
            (corpus / str(number)).write_bytes(data)
        seconds = max(1, round(self._end - time.monotonic()))
        options = [f'-max_total_time={seconds}', '-rss_limit_mb=4096', '-max_len=20000']
        atheris.Setup([sys.argv[0], *options, '-verbosity=0', str(corpus)], self.try_one)
        atheris.Fuzz()

    def _fail(self, data: bytes, reason: str) -> None:
        if reason not in self._failures:
            keep(self._name, data)
        self._failures[reason] = self._failures.get(reason, 0) + 1

    def _report(self) -> None:
        gained, worst = peak_mb() - self._base, self._worst_ms
        report(inputs=self._inputs, failures=self._failures, worst_ms=worst, gained_mb=gained)


def keep(name: str, data: bytes) -> None:
    """Make an input a seed."""
    (HERE / 'seeds' / name).mkdir(parents=True, exist_ok=True)
    (HERE / 'seeds' / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def fuzz(name: str, seconds: float, folder: Path) -> int:
    """Run a target in another process, print its row and return its failures."""
    last = folder / f'{name}.last'
    arguments = ['--child', name, '--last', str(last), '--seconds', str(seconds)]
    with Child('fuzz', arguments=arguments, environment={'XDG_CACHE_HOME': str(folder)}) as child:
        deadline = time.monotonic() + seconds + START_S
        while not child.ended and time.monotonic() < deadline:
            time.sleep(0.1)
        child.stop()
        found = {'inputs': 0, 'failures': {}, 'worst_ms': 0, 'gained_mb': 0} | child.values
        failures = found['failures']
        try:
            child.check()
        except ChildError as error:
            failures[str(error)] = 1
            if last.exists():
                keep(name, last.read_bytes())
    count = sum(failures.values())
    figures = f'{found["inputs"]:,} | {count} | {found["worst_ms"]:.0f} | {found["gained_mb"]:.0f}'
    print(f'| {name} | {figures} |', flush=True)
    for reason, times in failures.items():
        print(f'    {times}: {reason}', file=sys.stderr, flush=True)
    return count


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def hang(*_: object) -> None:
    msg = f'no answer within {HANGS_S} s'
    raise TimeoutError(msg)


def main() -> int:
    """Run the targets; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--seconds', type=float, default=600.0, help='for all targets together')
    parser.add_argument('--targets', nargs='+', help='only these')
    parser.add_argument('--child', help=argparse.SUPPRESS)
    parser.add_argument('--last', type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        signal.signal(signal.SIGALRM, hang)
        if find_spec('atheris'):
            import atheris

            with atheris.instrument_imports(include=['lemore_core', 'lemore_ros']):
                run = Run(options.child, options.seconds, options.last)
            run.run_atheris(options.last.with_suffix('.corpus'))
        Run(options.child, options.seconds, options.last).run()
        return 0
    from targets import FOLDER, TARGETS

    names = options.targets or list(TARGETS)
    total = sum(SHARES.get(name, 1) for name in names)
    print(
        '| target | inputs | failures | slowest, ms | memory gained, MB |',
        '|---|---|---|---|---|',
        sep='\n',
    )
    shares = {name: options.seconds * SHARES.get(name, 1) / total for name in names}
    return int(sum(fuzz(name, seconds, FOLDER) for name, seconds in shares.items()) > 0)


if __name__ == '__main__':
    sys.exit(main())
