"""Options of ``lemore bag segment``, checked at construction."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

from lemore_core.common.limits import BIT_DEPTHS, MAX_PIXELS, ROTATIONS
from lemore_core.common.validation import check_fields, option
from lemore_core.segmenter_options import SegmenterOptions
from lemore_ros.bags.errors import BagError
from lemore_ros.outputs import OUTPUTS

RECORDED = tuple(output.name for output in OUTPUTS.values() if output.is_recorded)
DEFAULT_OUTPUTS = tuple(name for name in RECORDED if not OUTPUTS[name].codec)
ALLOWED = f'some of {", ".join(RECORDED)}'
NODE = '/lemore_segmentation'


@dataclass(frozen=True)
class SegmentOptions(SegmenterOptions):
    """The network, the images to segment, and the messages and files to write."""

    _: KW_ONLY
    topic: tuple[str, ...] = option((), 'image topics; all cameras where none is named')
    rate: float = option(0.0, 'images of a topic segmented a second, 0 for all', low=0.0, high=1e6)
    skip: float = option(0.0, 'seconds to leave out at the beginning', low=0.0, high=1e9)
    duration: float = option(math.inf, 'seconds to segment', low=1e-9)
    outputs: tuple[str, ...] = option(
        DEFAULT_OUTPUTS, f'topics to write: {ALLOWED}', choices=RECORDED, allowed=ALLOWED
    )
    prefix: str = option(
        NODE, "the results' namespace", pattern='/.*[^/]', allowed=f'a name such as {NODE}'
    )
    only_results: bool = option(False, 'write the results without the recorded messages')
    alpha: float = option(0.5, "weight of the overlay's colours", low=0.0, high=1.0)
    storage: str = option('mcap', 'mcap or sqlite3', choices=('mcap', 'sqlite3'))
    compression: str = option('zstd', 'zstd or none', choices=('zstd', 'none'))
    rotate: int = option(
        0, 'degrees clockwise that turn the images upright for the network', choices=ROTATIONS
    )
    max_pixels: int = option(
        MAX_PIXELS, 'refuse images of more pixels before they are decoded', low=1
    )
    bit_depth: int = option(
        0, 'bits that 16-bit images fill; 0 finds them', choices=BIT_DEPTHS, allowed='0, or 8 to 16'
    )
    file_frames: int = option(0, 'segmented images per file, about; 0 for at most 64 files', low=0)
    min_confidence: float = option(
        0.0, 'labels of less confidence become unlabelled', low=0.0, high=1.0
    )
    class_groups: str = option('', 'groups of classes instead of classes: a name, or a YAML file')
    output_size: str = option('camera', 'size of the labels: camera, network, or WIDTHxHEIGHT')

    def __post_init__(self) -> None:
        check_fields(self, BagError)

    @property
    def period_ns(self) -> int:
        """The time between two segmented images of a topic, 1 for all images."""
        return max(1, round(1e9 / self.rate)) if self.rate else 1
