"""The node with a network that takes its time: ``slow_node.py SECONDS --ros-args …``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from lemore_core.image import Image
from lemore_core.segmentation import Segmentation
from lemore_core.segmenter import Segmenter
from lemore_ros.node import segmentation_node
from lemore_ros.node.parameters import NodeParameters


def slowed(segmenter: Segmenter, seconds: float) -> Segmenter:
    """Let every batch take ``seconds`` more."""
    segment = segmenter.segment_batch

    def segment_batch(images: Sequence[Image]) -> list[Segmentation]:
        time.sleep(seconds)
        return segment(images)

    segmenter.segment_batch = segment_batch  # type: ignore[method-assign]
    return segmenter


def main() -> int:
    load, seconds = segmentation_node.load_segmenter, float(sys.argv[1])

    def load_slowed(values: NodeParameters) -> Segmenter:
        return slowed(load(values), seconds)

    segmentation_node.load_segmenter = load_slowed
    return segmentation_node.main()


if __name__ == '__main__':
    sys.exit(main())
