"""The error of a distillation."""

from lemore_core.common.errors import LemoreError


class DistillError(LemoreError):
    """Images, a teacher or options from which no network can be trained."""
