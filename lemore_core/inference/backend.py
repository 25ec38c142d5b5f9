"""What a backend is asked for and what it answers; nothing above knows one by more than this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lemore_core.common.errors import LemoreError

if TYPE_CHECKING:
    # command lines ask for the names of backends, and must answer at once
    import numpy as np
    from numpy.typing import NDArray

    from lemore_core.images.image import Image
    from lemore_core.segmentation import Segmentation

AUTO = 'auto'
FP32, FP16, AS_EXPORTED = 'fp32', 'fp16', 'as exported'
PRECISIONS = (AUTO, FP32, FP16)
MAX_BATCH = 64
# One answer of every pipeline. Decoded, a vector of NaN or +infinity would pass for any class.
NOT_FINITE = 'the network gave NaN or infinite logits'


class BackendError(LemoreError):
    """A backend that is unknown, not installed, or cannot run what it was asked to."""


class DeviceUnusableError(BackendError):
    """A GPU that is there, and that what is installed cannot use."""


class QuarantinedError(BackendError):
    """An engine that broke the GPU's context before, or failed its first images."""


class DeviceMemoryError(BackendError):
    """A device whose memory is full. What it was asked to hold is let go; smaller may fit."""


@dataclass(frozen=True)
class ServingRequest:
    """A file to serve at one network size (height, width), and how.

    ``precision`` ``auto`` is half precision on a GPU and single on a CPU; an ONNX file has the
    precision that it was exported in and takes no other. ``batch`` is the number
    of images that may be labelled by one run. ``engine_cache`` is the folder of built engines,
    None for the user's.

    Raises:
        BackendError: a value that is not allowed.
    """

    path: Path
    height: int
    width: int
    _: KW_ONLY
    device: str = AUTO
    precision: str = AUTO
    batch: int = 1
    engine_cache: Path | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            msg = f'precision is {self.precision!r}, it must be one of {", ".join(PRECISIONS)}'
            raise BackendError(msg)
        if self.is_exported and self.precision != AUTO:
            msg = (
                f'{self.path} is served in the precision that it was exported in, '
                f'not in {self.precision}: leave the precision at {AUTO}'
            )
            raise BackendError(msg)
        if not 1 <= self.batch <= MAX_BATCH:
            msg = f'batch is {self.batch}, it must be from 1 to {MAX_BATCH}'
            raise BackendError(msg)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) at which the network sees every image."""
        return self.height, self.width

    @property
    def is_exported(self) -> bool:
        """Whether the file is an ONNX file already."""
        return self.path.suffix == '.onnx'

    @property
    def gpu_precision(self) -> str:
        """The precision on a GPU, with ``auto`` resolved."""
        if self.is_exported:
            return AS_EXPORTED
        return FP16 if self.precision == AUTO else self.precision


@dataclass(frozen=True)
class Status:
    """Which backend segments, and what keeps it from doing better.

    ``engine`` is how far a TensorRT engine is that will replace it, empty where there is none;
    ``degraded`` is why it is slower than what was asked for, empty where it is not.
    """

    backend: str
    device: str
    precision: str
    batch: int = 1
    engine: str = ''
    degraded: str = ''


class Backend(Protocol):
    """A network loaded for one size on one device. It is used from one thread."""

    @property
    def status(self) -> Status:
        """The backend at this moment; may be asked from any thread."""

    def segment(self, images: Sequence[Image]) -> list[Segmentation]:
        """Label images of any sizes and encodings, which have been checked.

        Raises:
            BackendError: the device failed; the next images may succeed.
        """

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the network says of RGB (N, height, width, 3) uint8, C-contiguous.

        The logits (N, height / 8, width / 8, classes), sizes rounded up, are C-contiguous.
        """

    def close(self) -> None:
        """Stop what works in the background; the backend is not used after it."""


class BackendModule(Protocol):
    """What a backend's file offers."""

    def load(self, request: ServingRequest) -> Backend:
        """Load what is requested."""
