"""The error of a data set."""

from lemore_core.common.errors import LemoreError


class DataError(LemoreError):
    """A data set whose layout, images or masks are not what they must be."""
