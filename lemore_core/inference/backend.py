"""Backend protocol, request and status."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from lemore_core.common.errors import TORCH, LemoreError
from lemore_core.common.validation import check_fields, option

if TYPE_CHECKING:
    # command lines import the backends' names, and must answer at once
    import numpy as np
    from numpy.typing import NDArray

    from lemore_core.images.image import Image
    from lemore_core.segmentation import Segmentation

AUTO = 'auto'
FP32, FP16, AS_EXPORTED = 'fp32', 'fp16', 'as exported'
PRECISIONS = (AUTO, FP32, FP16)
MAX_BATCH = 64
# decoded, NaN or +infinity would pass for a class
NOT_FINITE = 'the network gave NaN or infinite logits'


class BackendError(LemoreError):
    """A backend that is unknown, not installed, or cannot serve the request."""


class DeviceUnusableError(BackendError):
    """A GPU that the installed libraries cannot use."""


class RefusedEngineError(BackendError):
    """An engine that lost the GPU's context or failed its trial."""


class DeviceMemoryError(BackendError):
    """A device whose memory is full; the backend's memory there is freed."""


class ImageKind(NamedTuple):
    """Height, width and encoding of images that can run together."""

    height: int
    width: int
    encoding: str

    @classmethod
    def of(cls, image: Image) -> ImageKind:
        """Return the kind of ``image``."""
        height, width = image.pixels.shape[:2]
        return cls(height, width, image.encoding)

    def black(self) -> Image:
        """Return a black image of this kind."""
        import numpy as np

        from lemore_core.images.image import CHANNELS, Image

        channels = () if self.encoding == 'mono8' else (CHANNELS[self.encoding],)
        return Image(np.zeros((self.height, self.width, *channels), np.uint8), self.encoding)

    def __str__(self) -> str:
        return f'{self.width}x{self.height} {self.encoding}'


@dataclass(frozen=True)
class ServingRequest:
    """A file to serve at one network size (height, width).

    ``precision`` ``auto`` is half precision on a GPU and single on a CPU; an ONNX file keeps its
    precision. ``batch`` is the largest number of images per run, ``expected`` the kind of image to
    prepare for at loading, ``degraded`` the reason of a fallback, for the status.
    """

    path: Path
    height: int
    width: int
    _: KW_ONLY
    device: str = AUTO
    precision: str = option(AUTO, choices=PRECISIONS)
    batch: int = option(1, low=1, high=MAX_BATCH)
    expected: ImageKind | None = None
    degraded: str = ''

    def __post_init__(self) -> None:
        check_fields(self, BackendError)
        if self.is_exported and self.precision != AUTO:
            msg = (
                f'{self.path} is served in the precision that it was exported in, '
                f'not in {self.precision}: leave the precision at {AUTO}'
            )
            raise BackendError(msg)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) at which the network sees every image."""
        return self.height, self.width

    @property
    def is_exported(self) -> bool:
        """Whether the file is an ONNX file."""
        return self.path.suffix == '.onnx'

    @property
    def gpu_precision(self) -> str:
        """The precision on a GPU, with ``auto`` resolved."""
        if self.is_exported:
            return AS_EXPORTED
        return FP16 if self.precision == AUTO else self.precision


@dataclass(frozen=True)
class Status:
    """The serving backend.

    ``engine`` is the state of a TensorRT engine, empty if none is to be built; ``degraded`` is the
    reason for a smaller batch, a slower device or a slower method, empty otherwise; ``preparing`` is
    what makes the labels faster once it is done, empty afterwards.
    """

    backend: str
    device: str
    precision: str
    batch: int = 1
    engine: str = ''
    degraded: str = ''
    preparing: str = ''


T = TypeVar('T')


def outputs_of(found: T | tuple[T, ...]) -> tuple[T, T | None]:
    """Return the logits of a run, and the descriptors of a network that gives both."""
    logits, *others = found if isinstance(found, tuple) else (found,)
    return logits, others[0] if others else None


class Backend(Protocol):
    """A network loaded for one size on one device. It is used from one thread."""

    @property
    def status(self) -> Status:
        """The status now, for any thread."""

    def segment(self, images: Sequence[Image]) -> list[Segmentation]:
        """Segment valid images of any sizes and encodings; the next may succeed if it raises."""

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of RGB (N, height, width, 3) uint8, C-contiguous.

        The logits (N, height / 8, width / 8, classes), sizes rounded up, are C-contiguous.
        """

    def close(self) -> None:
        """Free the device's memory; the backend is not used after it."""


JETSON_KERNEL = 'tegra'
# pip's packages do not fit the driver of a Jetson
ON_JETSON: Mapping[str, str] = {
    'tensorrt': (
        'sudo apt install python3-libnvinfer (part of JetPack), and make the virtual environment '
        'with --system-site-packages (docs/jetson.md)'
    ),
    'torch': 'install the wheel of your JetPack (docs/jetson.md)',
}


def how_to_install(package: str) -> str:
    """Return the command that installs ``package`` on this machine."""
    hint = ON_JETSON.get(package) if platform.release().endswith(JETSON_KERNEL) else None
    return hint or f'pip install {TORCH if package == "torch" else package}'
