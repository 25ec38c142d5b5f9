"""Errors that are raised by modules whose import takes long."""

from lemore_core.common.errors import LemoreError


class ExportError(LemoreError):
    """A network that cannot be exported, or whose export computes something else."""


class PrecisionError(LemoreError):
    """Numbers that half precision does not hold."""
