from __future__ import annotations

from pathlib import Path

import pytest

from lemore_core.system.process_memory import ProcessMemoryError, process_memory


def test_memory_is_read_from_linux(tmp_path: Path) -> None:
    status = tmp_path / 'status'
    status.write_text('Name:\tpython\nVmHWM:\t   3000 kB\nVmRSS:\t   2000 kB\nRssAnon:\t 1000 kB\n')
    memory = process_memory(status)
    assert memory.peak_mb == pytest.approx(3.072)
    assert memory.resident_mb == pytest.approx(2.048)
    assert memory.anonymous_mb == pytest.approx(1.024)


def test_a_system_that_does_not_tell_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProcessMemoryError, match='only Linux has'):
        process_memory(tmp_path / 'gone')
    status = tmp_path / 'status'
    status.write_text('Name:\tpython\n')
    with pytest.raises(ProcessMemoryError, match="says nothing of 'VmRSS'"):
        process_memory(status)
