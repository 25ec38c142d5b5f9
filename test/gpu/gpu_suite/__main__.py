"""Prints the figures of this GPU; ``run_gpu_suite.sh`` says what it ends with."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from gpu_suite import networks
from gpu_suite.figures import MILLISECONDS, PER_SECOND, SPEED_UP, measure, missed_bars

NOT_RUN = 'not run'


def main() -> int:
    """Measure, write and print the figures and the table, and return the exit code."""
    folder = Path(os.environ.get('OUT') or networks.ROOT / 'out' / 'gpu')
    folder.mkdir(parents=True, exist_ok=True)
    machine: dict[str, object] = {'device': 'none', 'torch': torch.__version__}
    figures: dict[str, Any] = {}
    if torch.cuda.is_available():
        device = torch.device('cuda:0')
        machine |= {
            'device': torch.cuda.get_device_name(device),
            'cuda': torch.version.cuda,
            'cudnn': torch.backends.cudnn.version(),
        }
        figures = measure(device)
    report = json.dumps({**machine, **figures}, indent=2) + '\n'
    (folder / 'figures.json').write_text(report, encoding='utf-8')
    missed = missed_bars(figures) if figures else []
    lines = ['| | | bar |', '|---|---|---|', *rows(figures, last_line(folder / 'tests.log'))]
    lines.append(f'| training | {last_line(folder / "training.log")} | |')
    lines += [f'MISSED: {line}' for line in missed]
    table = '\n'.join(lines) + '\n'
    (folder / 'table.md').write_text(table, encoding='utf-8')
    print(report + table, end='')
    return 2 if missed else 0


def rows(figures: dict[str, Any], tests: str) -> list[str]:
    """Return the table's rows; what was not measured is "not run"."""

    def shown(name: str, *keys: str) -> str:
        value = figures.get(name)
        if value is None:
            return NOT_RUN
        return ', '.join(f'{value[key]:.3f}' for key in keys) if keys else f'{value:.1f}'

    return [
        f'| tests | {tests} | |',
        f'| batch 1, ms (median, p99) | {shown("batch 1", "median", "p99")} | {MILLISECONDS} |',
        f'| batch 1 at 30 Hz, ms | {shown("batch 1 at 30 Hz", "median", "p99")} | |',
        f'| times plain eager | {shown("times faster")} | {SPEED_UP} |',
        f'| batch 32, images a second | {shown("images a second")} | {PER_SECOND:.0f} |',
        f'| kernels per frame | {shown("kernels per frame")} | |',
        f'| peak MiB | {shown("peak MiB")} | |',
    ]


def last_line(log: Path) -> str:
    """Return the last line of a log, "not run" where there is none."""
    lines = log.read_text(encoding='utf-8').strip().splitlines() if log.is_file() else []
    return lines[-1].replace('|', '/') if lines else NOT_RUN


if __name__ == '__main__':
    sys.exit(main())
