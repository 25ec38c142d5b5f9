"""Another Python that sees what this one sees."""

from __future__ import annotations

import os
import sys


def same_modules() -> dict[str, str]:
    """Return the environment in which another Python imports what this one does, nothing else."""
    return os.environ | {
        'PYTHONPATH': os.pathsep.join(path for path in sys.path if path),
        'PYTHONSAFEPATH': '1',
    }
