"""An export in a process of its own, whose memory ends with it.

Exporting takes PyTorch, which stays in memory once it is imported: several hundred megabytes that
a robot without a GPU has no other use for.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lemore_core.checkpoint import CheckpointError
from lemore_core.errors import LemoreError
from lemore_core.export.errors import ExportError
from lemore_core.system.json_child import Answer, ChildError, JsonChild, serve_parent

MODULE = 'lemore_core.export.subprocess_export'
ERRORS: Mapping[str, type[LemoreError]] = {
    error.__name__: error for error in (CheckpointError, ExportError)
}


def export_in_subprocess(path: Path, height: int, width: int) -> bytes:
    """Return what :func:`lemore_core.export.export.export_onnx` does.

    Raises:
        CheckpointError, ExportError: see there; or the process ended otherwise.

    """
    with tempfile.TemporaryDirectory(prefix='lemore-export-') as folder:
        output = Path(folder, 'model.onnx')
        order = {'path': path, 'height': height, 'width': width, 'output': output}
        try:
            with JsonChild(MODULE, order) as child:
                list(child)
        except ChildError as error:
            raise ERRORS.get(error.kind, ExportError)(*error.args) from error
        return output.read_bytes()


def _export(order: Mapping[str, Any], _: Answer) -> None:
    import torch

    from lemore_core.export.export import write_onnx

    # Python does most of it; threads that wait for each other take minutes on a busy processor
    torch.set_num_threads(1)
    output = Path(order['output'])
    # the parent removes it, however this process ends
    tempfile.tempdir = str(output.parent)
    write_onnx(Path(order['path']), output, order['height'], order['width'])


if __name__ == '__main__':
    sys.exit(serve_parent(_export))
