"""What freed memory does, in a process of its own: it changes how the whole process allocates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
CODE = """
from lemore_core.system.allocator import give_back_freed_memory, keep_freed_memory
from lemore_core.system.process_memory import process_memory

keep_freed_memory()
# blocks that would be given back one by one
held = [bytearray(b'x' * 6_000_000) for _ in range(8)]
full = process_memory().anonymous_mb
held.clear()
kept = process_memory().anonymous_mb
give_back_freed_memory()
print(full, kept, process_memory().anonymous_mb)
"""


def test_freed_memory_is_kept_and_given_back_when_asked() -> None:
    done = subprocess.run(
        [sys.executable, '-c', CODE], check=True, cwd=ROOT, capture_output=True, text=True
    )
    full, kept, given_back = map(float, done.stdout.split())
    assert full - kept < 10
    assert kept - given_back > 40
