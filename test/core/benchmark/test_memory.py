from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lemore_core.benchmark.cases import Case
from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.benchmark.memory import measure_memory


@pytest.mark.skipif(sys.platform != 'linux', reason='memory is read from /proc')
def test_a_process_is_watched(untrained_checkpoint: Path) -> None:
    advanced: list[int] = []
    case = Case(str(untrained_checkpoint), (48, 64), backend='torch', device='cpu')
    row = measure_memory(case, None, 60, advanced.append)
    assert row.images == 60
    assert sum(advanced) == 60
    assert [sample.images for sample in row.samples[:2]] == [5, 6]
    assert 0 < row.libraries_mb <= row.loaded_mb <= row.peak_mb
    assert row.over_libraries_mb == pytest.approx(row.last_mb - row.libraries_mb)


@pytest.mark.skipif(sys.platform != 'linux', reason='memory is read from /proc')
def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(BenchmarkError, match=r'there is no checkpoint gone\.safetensors'):
        measure_memory(Case('gone.safetensors', (48, 64)), None, 5, lambda _: None)
