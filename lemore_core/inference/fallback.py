"""A backend that serves in the place of the one that was asked for, and says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lemore_core.inference.backend import Backend, Status

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lemore_core.images.image import Image
    from lemore_core.segmentation import Segmentation


class Fallback:
    """``backend``, whose status gives the reason why it is not what was asked for."""

    def __init__(self, backend: Backend, reason: str) -> None:
        self._backend = backend
        self._reason = reason

    @property
    def status(self) -> Status:
        """What serves, degraded."""
        return dataclasses.replace(self._backend.status, degraded=self._reason)

    def segment(self, images: Sequence[Image]) -> list[Segmentation]:
        """Label images."""
        return self._backend.segment(images)

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of ``pixels``."""
        return self._backend.logits(pixels)

    def close(self) -> None:
        """Stop what works in the background."""
        self._backend.close()
