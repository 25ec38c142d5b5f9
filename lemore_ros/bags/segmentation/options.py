"""What ``lemore bag segment`` is asked for, checked once."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemore_ros.bags.errors import BagError
from lemore_ros.outputs import OUTPUTS

if TYPE_CHECKING:
    from lemore_core.refine import Refinement
    from lemore_core.segmenter import Segmenter
    from lemore_core.taxonomy import Taxonomy

RECORDED = tuple(output.name for output in OUTPUTS.values() if output.is_recorded)
DEFAULT_OUTPUTS = tuple(name for name in RECORDED if OUTPUTS[name].is_recorded_by_default)
STORAGES = ('mcap', 'sqlite3')
COMPRESSIONS = ('zstd', 'none')
NODE = '/lemore_segmentation'


@dataclass(frozen=True)
class ModelOptions:
    """Which network labels the frames, and on what; as the other commands take them."""

    model: str = 'tiny'
    dataset: str = ''
    backend: str = 'auto'
    device: str = 'auto'
    precision: str = 'auto'
    size: tuple[int, int] | None = None
    batch: int = 1
    min_confidence: float = 0.0
    class_groups: str = ''
    output_size: str = 'camera'

    def load(self) -> Segmenter:
        """Load the network.

        Raises:
            LemoreError: see :meth:`lemore_core.segmenter.Segmenter.load`.

        """
        from lemore_core.segmenter import Segmenter, resolve_checkpoint
        from lemore_core.taxonomy import load_taxonomy

        return Segmenter.load(
            resolve_checkpoint(self.model, self.dataset),
            backend=self.backend,
            device=self.device,
            precision=self.precision,
            batch=self.batch,
            taxonomy=load_taxonomy(self.dataset) if self.dataset else None,
            network_size=self.size,
        )

    def refinement(self, classes: Taxonomy) -> tuple[Refinement, Taxonomy]:
        """Return what is done to the labels, and what they mean after it.

        Raises:
            LemoreError: a confidence, groups or a size that is not allowed.

        """
        from lemore_core.refine import OutputSize, Refinement
        from lemore_core.taxonomy import load_groups

        groups = load_groups(self.class_groups, classes) if self.class_groups else None
        size = OutputSize.parse(self.output_size)
        refinement = Refinement(self.min_confidence, groups, size)
        return refinement, classes if groups is None else groups.taxonomy


@dataclass(frozen=True)
class SegmentOptions:
    """What is labelled of a bag, and what is written.

    ``topics`` are the image topics, () for all that can be labelled. ``rate_hz`` is how many
    frames of a topic are labelled in a second of the bag at most, 0 for all; ``start_s`` and
    ``duration_s`` are counted from the bag's beginning. ``file_frames`` is about how many labelled
    frames a file of the result holds, 0 to choose by the bag's length; files are what is kept of
    a run that broke off, and what is spread over workers.

    Raises:
        BagError: a value that is not allowed.

    """

    model: ModelOptions = ModelOptions()
    _: KW_ONLY
    topics: tuple[str, ...] = ()
    outputs: tuple[str, ...] = DEFAULT_OUTPUTS
    prefix: str = NODE
    only_results: bool = False
    rate_hz: float = 0.0
    start_s: float = 0.0
    duration_s: float = math.inf
    storage: str = 'mcap'
    compression: str = 'zstd'
    overlay_alpha: float = 0.5
    file_frames: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.outputs if name not in RECORDED]
        _require(not unknown, 'outputs', ','.join(unknown), f'some of {", ".join(RECORDED)}')
        _require(bool(self.outputs), 'outputs', '', 'at least one')
        _require(self.storage in STORAGES, 'storage', self.storage, ' or '.join(STORAGES))
        allowed = ' or '.join(COMPRESSIONS)
        _require(self.compression in COMPRESSIONS, 'compression', self.compression, allowed)
        _require(0.0 <= self.rate_hz < math.inf, 'rate', self.rate_hz, '0 (all) or more')
        _require(0.0 <= self.start_s < math.inf, 'start', self.start_s, '0 or more seconds')
        _require(self.duration_s > 0.0, 'duration', self.duration_s, 'more than 0 seconds')
        _require(0.0 <= self.overlay_alpha <= 1.0, 'alpha', self.overlay_alpha, '0.0 to 1.0')
        _require(self.file_frames >= 0, 'file-frames', self.file_frames, '0 (chosen) or more')
        is_name = self.prefix.startswith('/') and not self.prefix.endswith('/')
        _require(is_name, 'prefix', self.prefix, 'a name such as /lemore_segmentation')

    def as_json(self) -> dict[str, Any]:
        """Return the options as JSON knows them."""
        return {**asdict(self), 'duration_s': min(self.duration_s, 1e18)}


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        msg = f'{name} is {str(value)!r}, allowed: {allowed}'
        raise BagError(msg)


def resolved(path: str) -> str:
    """Return a file's path so that it means the same in every folder; names stay as they are."""
    return str(Path(path).resolve()) if Path(path).suffix else path
