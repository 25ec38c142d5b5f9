"""What the network looks at in an image: gathered as arrays, then drawn as sheets."""

from __future__ import annotations

from lemore_core.research.inspection.findings import (
    ExplicitViews,
    ImplicitMaps,
    Inspection,
    InspectionError,
)
from lemore_core.research.inspection.gather import inspect_image, read_image
from lemore_core.research.inspection.sheets import write_sheets

__all__ = [
    'ExplicitViews',
    'ImplicitMaps',
    'Inspection',
    'InspectionError',
    'inspect_image',
    'read_image',
    'write_sheets',
]
