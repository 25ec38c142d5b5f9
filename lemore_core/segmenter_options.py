"""Options of a Segmenter, shared by command line, bag tools and node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemore_core.common.errors import SegmenterError
from lemore_core.common.validation import check_fields, option
from lemore_core.inference import AUTO, BACKENDS
from lemore_core.inference.backend import MAX_BATCH, PRECISIONS

if TYPE_CHECKING:
    from lemore_core.segmenter import Segmenter


@dataclass(frozen=True)
class SegmenterOptions:
    """Name a model and how it is loaded; see :meth:`lemore_core.segmenter.Segmenter.load`.

    ``size`` (height, width) fixes the network's input; ``wait_for_engine`` builds a missing
    TensorRT engine before the first image.
    """

    model: str = option('tiny', 'a shipped size, or the path of a checkpoint')
    dataset: str = option('', 'name or YAML file of the class table')
    backend: str = option(AUTO, 'what runs the network', choices=(AUTO, *BACKENDS))
    device: str = option(
        AUTO, 'where', pattern=r'auto|cpu|cuda(:\d+)?', allowed='auto, cpu, cuda or cuda:N'
    )
    precision: str = option(AUTO, 'of the numbers', choices=PRECISIONS)
    size: tuple[int, int] | None = option(None, "the network's (height, width)", low=1)
    batch: int = option(1, 'images that one run segments', low=1, high=MAX_BATCH)
    wait_for_engine: bool = False

    def __post_init__(self) -> None:
        check_fields(self, SegmenterError)

    def load(self, *, live: bool = False) -> Segmenter:
        """Load the network, see :meth:`lemore_core.segmenter.Segmenter.load`."""
        from lemore_core.segmenter import Segmenter, resolve_checkpoint
        from lemore_core.taxonomy import load_taxonomy

        return Segmenter.load(
            resolve_checkpoint(self.model, self.dataset),
            backend=self.backend,
            device=self.device,
            precision=self.precision,
            batch=self.batch,
            wait_for_engine=self.wait_for_engine,
            taxonomy=load_taxonomy(self.dataset) if self.dataset else None,
            network_size=self.size,
            live=live,
        )
