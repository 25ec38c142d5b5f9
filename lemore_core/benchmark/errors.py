"""What a benchmark refuses."""

from __future__ import annotations

from lemore_core.common.errors import LemoreError


class BenchmarkError(LemoreError):
    """Something that cannot be measured as asked, here or at all."""
