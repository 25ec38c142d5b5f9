from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lemore_core.common.memory import ProcessMemoryError, process_memory

# in a process of its own: it changes how the whole process allocates
CODE = """
from lemore_core.common.memory import keep_freed_memory, process_memory, release_memory

keep_freed_memory()
# blocks that would be returned one by one
held = [bytearray(b'x' * 6_000_000) for _ in range(8)]
full = process_memory().resident_mb
held.clear()
kept = process_memory().resident_mb
release_memory()
print(full, kept, process_memory().resident_mb)
"""


def test_freed_memory_is_kept_until_it_is_released(run_python: Any) -> None:
    full, kept, released = map(float, run_python('-c', CODE).split())
    assert full - kept < 10
    assert kept - released > 40


def test_memory_is_read_from_linux(tmp_path: Path) -> None:
    status = tmp_path / 'status'
    with pytest.raises(ProcessMemoryError, match='does not tell the memory of a process'):
        process_memory(status)
    status.write_text('Name:\tpython\nVmHWM:\t   3000 kB\nVmRSS:\t   2000 kB\n')
    memory = process_memory(status)
    assert memory.peak_mb == pytest.approx(3.072)
    assert memory.resident_mb == pytest.approx(2.048)
