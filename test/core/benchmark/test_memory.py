from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lemore_core.benchmark.cases import Case
from lemore_core.benchmark.memory import measure_memory
from lemore_core.errors import LemoreError

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='memory is read from /proc')


def test_a_process_is_watched(untrained_checkpoint: Path) -> None:
    case = Case(str(untrained_checkpoint), (48, 64), backend='torch', device='cpu')
    row = measure_memory(case, None, 10)
    assert row.images == 10
    assert row.name.endswith('torch cpu fp32, 64x48')
    assert 0 < row.libraries_mb <= row.loaded_mb <= row.peak_mb
    assert row.over_libraries_mb == pytest.approx(row.last_mb - row.libraries_mb)


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(LemoreError, match=r'there is no checkpoint gone\.safetensors'):
        measure_memory(Case('gone.safetensors', (48, 64)), None)
