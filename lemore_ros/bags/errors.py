"""The root of the errors of the bag tools."""

from __future__ import annotations

from lemore_core.errors import LemoreError


class BagError(LemoreError):
    """A bag that cannot be read or written, or that does not hold what was asked for."""
