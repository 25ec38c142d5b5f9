"""The network as it is served. Importing this folder imports no PyTorch."""

from importlib import resources
from pathlib import Path

from lemore_core.common.errors import LemoreError

LOGITS, DESCRIPTOR = 'logits', 'descriptor'  # outputs of a file; older ones have no descriptor
BATCH = 'batch'  # the open dimension of an exported file
# the image that exports and engines are checked with; its licence lies beside it
STREET = Path(str(resources.files('lemore_core.export') / 'street.jpg'))


class ExportError(LemoreError):
    """A network that cannot be exported, or whose export computes something else."""


class PrecisionError(LemoreError):
    """Numbers out of the range of half precision."""
