from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lemore_core.benchmark.cases import Case, Skipped
from lemore_core.benchmark.memory import MemoryRow, measure_memories
from lemore_core.export.export import write_onnx
from lemore_core.segmenter_options import SegmenterOptions

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='memory is read from /proc')


def test_a_process_is_watched(untrained_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / 'model.onnx'
    write_onnx(untrained_checkpoint, path, 96, 128)
    options = SegmenterOptions(str(path), backend='onnxruntime', device='cpu')
    gone = Case(SegmenterOptions('gone.safetensors'), (48, 64))
    row, skipped = measure_memories([Case(options, (48, 64)), gone], None, 10)
    assert isinstance(row, MemoryRow)
    assert row.images == 10
    assert row.name.endswith('onnxruntime cpu as exported, 64x48')
    assert 0 < row.libraries_mb <= row.loaded_mb <= row.peak_mb
    assert row.over_libraries_mb == pytest.approx(row.last_mb - row.libraries_mb)
    assert isinstance(skipped, Skipped)
    assert 'there is no checkpoint gone.safetensors' in skipped.reason
