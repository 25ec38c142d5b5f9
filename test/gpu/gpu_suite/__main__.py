"""Prints the figures of this GPU; ``run_gpu_suite.sh`` says what it ends with."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from gpu_suite import networks
from gpu_suite.figures import measure, missed_bars


def main() -> int:
    """Measure, write and print the figures, and return the exit code."""
    if not torch.cuda.is_available():
        print('No CUDA device is here: the figures of a GPU are unmeasured.')
        return 0
    device = torch.device('cuda:0')
    machine = {
        'device': torch.cuda.get_device_name(device),
        'torch': torch.__version__,
        'cuda': torch.version.cuda,
        'cudnn': torch.backends.cudnn.version(),
    }
    figures = measure(device)
    report = json.dumps({**machine, **figures}, indent=2) + '\n'
    folder = Path(os.environ.get('OUT') or networks.ROOT / 'out' / 'gpu')
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'figures.json').write_text(report, encoding='utf-8')
    print(report, end='')
    missed = missed_bars(figures)
    for line in missed:
        print(f'MISSED: {line}')
    return 2 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
