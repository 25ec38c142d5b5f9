"""Exports that lie beside their checkpoints: a first start on a CPU needs neither PyTorch nor time.

``python -m lemore_core.export.shipped`` (``make exports``) writes those of the shipped checkpoints
anew, after a change of the weights or of the graph.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from lemore_core.checkpoint import read_card
from lemore_core.common.files import write_whole

WEIGHTS = Path(__file__).parents[1] / 'weights'
# larger ones would double what the package weighs for what is done once on a machine
MOST_BYTES = 8_000_000
# of the metadata: the checkpoint's SHA-256
ORIGIN = 'exported_from'


def shipped_path(checkpoint: Path, height: int, width: int) -> Path:
    """Return where the export of a checkpoint for a size would lie."""
    return checkpoint.with_name(f'{checkpoint.stem}_{width}x{height}.onnx')


def read_shipped(checkpoint: Path, height: int, width: int) -> bytes | None:
    """Return the export beside a checkpoint, if it was made of this content for this size."""
    try:
        content = shipped_path(checkpoint, height, width).read_bytes()
        origin = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    except OSError:
        return None
    # text stands in an ONNX file as it is: nothing need be parsed
    return content if origin.encode() in content else None


def ship(checkpoint: Path) -> Path | None:
    """Write the export of a checkpoint for its own size beside it, unless it is too large."""
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
    """Write all; return the exit status."""
    for checkpoint in sorted(WEIGHTS.glob('*.safetensors')):
        path = ship(checkpoint)
        print(path or f'{checkpoint}: none, it would be larger than {MOST_BYTES / 1e6:.0f} MB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
