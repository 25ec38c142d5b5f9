"""Read the images of one camera in a bag, in the order of their receive times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.limits import MAX_PIXELS
from lemore_core.images.image import Image, to_rgb
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.evaluation.matching import stamp_of
from lemore_ros.bags.reader import open_bag
from lemore_ros.bags.topics import camera_topic

UNREADABLE = 'images that cannot be decoded'


@dataclass(frozen=True)
class StampedImage:
    """Image with its stamp in nanoseconds (the receive time if the stamp is zero)."""

    time_ns: int
    received_ns: int
    image: Image = field(repr=False)

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """The image as RGB (H, W, 3) uint8."""
        return np.ascontiguousarray(to_rgb(self.image.pixels, self.image.encoding))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image.pixels.shape[0], self.image.pixels.shape[1]


class ImageSequence:
    """Images of a camera topic; ``error_counts`` counts errors by their description.

    ``masks`` are topics that are no camera. ``start_s`` and ``duration_s`` select by receive time
    from the start of the bag.
    """

    def __init__(
        self,
        path: Path,
        topic: str = '',
        *,
        masks: Collection[str] = (),
        start_s: float = 0.0,
        duration_s: float | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.path = path
        self._max_pixels = max_pixels
        self.error_counts: Counter[str] = Counter()
        self.damage = ''
        with open_bag(path, max_pixels) as bag:
            self.topic = camera_topic(bag, topic, masks)
            self._start_ns = bag.start_ns + round(start_s * 1e9)
        self._end_ns = None if duration_s is None else self._start_ns + round(duration_s * 1e9)
        self.is_whole = not start_s and duration_s is None

    def images(self) -> Iterator[tuple[StampedImage, int | None]]:
        """Yield each image and the stamp of the next one, None after the last.

        Images that cannot be decoded are counted and left out.

        Raises:
            BagError: there is not one image.
        """
        last, reason = None, ''
        with open_bag(self.path, self._max_pixels) as bag:
            for record, image in bag.frames(
                self.topic, start_ns=self._start_ns, end_ns=self._end_ns
            ):
                if not isinstance(image, Image):
                    self.error_counts[UNREADABLE] += 1
                    reason = f', {self.error_counts[UNREADABLE]} cannot be decoded: {image}'
                    continue
                following = StampedImage(stamp_of(image, record), record.time_ns, image)
                if last is not None:
                    yield last, following.time_ns
                last = following
            self.damage = bag.damage
        if last is None:
            msg = f'{self.path} has no images on {self.topic.name} in this part (--skip, --duration){reason}'
            raise BagError(msg)
        yield last, None
