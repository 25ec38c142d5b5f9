"""An export in a process of its own, whose memory ends with it.

Exporting takes PyTorch, which stays in memory once it is imported: several hundred megabytes that
a robot without a GPU has no other use for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lemore_core.checkpoint import CheckpointError
from lemore_core.errors import LemoreError, in_one_line
from lemore_core.export.errors import ExportError
from lemore_core.system.child_env import same_modules

ERRORS: Mapping[str, type[LemoreError]] = {
    error.__name__: error for error in (CheckpointError, ExportError)
}
TAIL = 500


def export_apart(path: Path, height: int, width: int) -> bytes:
    """Return what :func:`lemore_core.export.export.export_onnx` does.

    Raises:
        CheckpointError, ExportError: see there; or the process ended otherwise.

    """
    with tempfile.TemporaryDirectory(prefix='lemore-export-') as folder:
        output = Path(folder, 'model.onnx')
        order = {'path': str(path), 'height': height, 'width': width, 'output': str(output)}
        done = subprocess.run(
            [sys.executable, '-m', __name__, json.dumps(order)],
            check=False,
            capture_output=True,
            env=same_modules(),
            text=True,
        )
        if done.returncode == 0:
            return output.read_bytes()
    raise _failure(path, done)


def _failure(path: Path, done: subprocess.CompletedProcess[str]) -> LemoreError:
    try:
        told = json.loads(done.stdout)
        return ERRORS.get(told['error'], ExportError)(told['message'])
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip()[-TAIL:] or 'it said nothing'
        return ExportError(f'the export of {path} ended with status {done.returncode}: {said}')


def main(order: str) -> int:
    """Export what is ordered as JSON; print what went wrong, and return the exit code."""
    from lemore_core.export.export import write_onnx

    wanted = json.loads(order)
    try:
        write_onnx(Path(wanted['path']), Path(wanted['output']), wanted['height'], wanted['width'])
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
        print(json.dumps({'error': type(error).__name__, 'message': in_one_line(error)}))
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
