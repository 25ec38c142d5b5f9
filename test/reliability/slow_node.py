"""The node with a slow network, which hangs at a black image: ``slow_node.py SECONDS --ros-args …``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from lemore_core.images.image import Image
from lemore_core.segmentation import Refinement, Segmentation
from lemore_core.segmenter import Segmenter
from lemore_ros.node import segmentation_node
from lemore_ros.node.parameters import NodeParameters

FOREVER_S = 1e6


def slowed(segmenter: Segmenter, seconds: float) -> Segmenter:
    """Let every batch take ``seconds`` more."""
    segment = segmenter.segment_batch

    def segment_batch(images: Sequence[Image], *refinement: Refinement) -> list[Segmentation]:
        time.sleep(seconds if all(image.pixels.any() for image in images) else FOREVER_S)
        return segment(images, *refinement)

    segmenter.segment_batch = segment_batch  # type: ignore[method-assign]
    return segmenter


def main() -> int:
    load = segmentation_node.load_segmenter
    seconds = float(sys.argv[1])

    def load_slowed(values: NodeParameters) -> Segmenter:
        return slowed(load(values), seconds)

    segmentation_node.load_segmenter = load_slowed
    return segmentation_node.main()


if __name__ == '__main__':
    sys.exit(main())
