"""The image of a street that exports are checked with, found without importing PyTorch."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

STREET = Path(str(resources.files('lemore_core.export') / 'street.jpg'))
