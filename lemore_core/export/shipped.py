"""Exports shipped beside their checkpoints, so that a first start on a CPU needs no PyTorch.

``make exports`` (``python -m lemore_core.export.shipped``) rewrites them after a change of the
weights or the graph.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from lemore_core.checkpoint import read_card
from lemore_core.common.files import write_whole

WEIGHTS = Path(__file__).parents[1] / 'weights'
MOST_BYTES = 8_000_000  # larger ones would double the package for one export a machine
ORIGIN = 'exported_from'  # metadata: SHA-256 of the checkpoint


def shipped_path(checkpoint: Path, height: int, width: int) -> Path:
    """Return the path of a checkpoint's shipped export for a size."""
    return checkpoint.with_name(f'{checkpoint.stem}_{width}x{height}.onnx')


def read_shipped(checkpoint: Path, height: int, width: int) -> bytes | None:
    """Return the export beside a checkpoint if it was made from this content, else None."""
    try:
        content = shipped_path(checkpoint, height, width).read_bytes()
        origin = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    except OSError:
        return None
    # text is not encoded in an ONNX file: no need to parse it
    return content if origin.encode() in content else None


def ship(checkpoint: Path) -> Path | None:
    """Write the export of a checkpoint for its own size beside it, unless too large."""
    import onnx

    from lemore_core.export.export import export_onnx

    config = read_card(checkpoint).config
    path = shipped_path(checkpoint, config.height, config.width)
    model = onnx.load_from_string(export_onnx(checkpoint, config.height, config.width))
    origin = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    model.metadata_props.add(key=ORIGIN, value=origin)
    content = model.SerializeToString(deterministic=True)
    if len(content) > MOST_BYTES:
        path.unlink(missing_ok=True)
        return None
    write_whole(path, content)
    return path


def main() -> int:
    """Write the exports of all shipped checkpoints; return the exit status."""
    for checkpoint in sorted(WEIGHTS.glob('*.safetensors')):
        path = ship(checkpoint)
        print(path or f'{checkpoint}: none, it would be larger than {MOST_BYTES / 1e6:.0f} MB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
