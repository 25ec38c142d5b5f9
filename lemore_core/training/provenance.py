"""What a checkpoint says about where it comes from."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

PACKAGES = ('torch', 'lightning', 'numpy', 'opencv-python-headless')


def provenance() -> dict[str, str]:
    """Return versions of Python, the packages that shape a training, and the source's commit."""
    versions = {name: _version(name) for name in PACKAGES}
    return {'python': platform.python_version(), **versions, 'commit': _commit()}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return 'unknown'


def _commit() -> str:
    """Return the git commit of this package's source, marked where it was changed since."""
    folder = Path(__file__).parents[1]
    try:
        commit = _git(folder, 'rev-parse', 'HEAD')
        # an installed package may lie inside some other project's checkout
        if not _git(folder, 'ls-files', str(Path(__file__))):
            return 'unknown'
        changed = _git(folder, 'status', '--porcelain', '--', '.')
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'
    return f'{commit}+changes' if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    command = ['git', '-C', str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
