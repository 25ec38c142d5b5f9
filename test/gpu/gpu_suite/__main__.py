"""Runs the tests, then the figures; see ``run_gpu_suite.sh`` for what it ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from gpu_suite import networks
from gpu_suite.figures import Suite, missed_bars
from gpu_suite.report import to_table

# The tests have this long; the last figure starts before the second has passed.
TEST_SECONDS, FIGURE_SECONDS = 210, 400


def main() -> int:
    """Run all of it and return the exit code."""
    started = time.monotonic()
    cuda = torch.cuda.is_available()
    passed = _tests_pass()
    device = torch.device('cuda:0' if cuda else 'cpu')
    figures = Suite(device, started + FIGURE_SECONDS).run()
    missed = missed_bars(figures) if cuda else []
    report = {
        **_machine(device),
        'tests passed': passed,
        **figures,
        'missed': missed,
        'seconds': round(time.monotonic() - started, 1),
    }
    _write(report)
    if not cuda:
        print('No CUDA device is here: the figures above are of a CPU, at toy sizes, and mean')
        print('only that the suite runs. Those of a GPU are unmeasured.')
    for line in missed:
        print(f'MISSED: {line}')
    return 1 if not passed else 2 if missed else 0


def _tests_pass() -> bool:
    """Run the tests in a process of their own: what they break stays there."""
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider']
    command += [str(networks.ROOT / 'test' / 'gpu' / 'test_device.py')]
    environment = {**os.environ, 'LEMORE_GPU_SUITE': '1', 'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1'}
    try:
        done = subprocess.run(
            command, check=False, cwd=networks.ROOT, env=environment, timeout=TEST_SECONDS
        )
    except subprocess.TimeoutExpired:
        print(f'the tests took longer than {TEST_SECONDS} s')
        return False
    return done.returncode == 0


def _machine(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'
    return {
        'device': name,
        'unmeasured': device.type != 'cuda',
        'python': sys.version.split()[0],
        'torch': torch.__version__,
        'cuda': torch.version.cuda,
        'cudnn': torch.backends.cudnn.version(),
    }


def _write(report: dict[str, Any]) -> None:
    folder = Path(os.environ.get('OUT') or networks.ROOT / 'out' / 'gpu')
    folder.mkdir(parents=True, exist_ok=True)
    table = to_table(report)
    (folder / 'figures.json').write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
    (folder / 'figures.md').write_text(table, encoding='utf-8')
    print(table)


if __name__ == '__main__':
    sys.exit(main())
