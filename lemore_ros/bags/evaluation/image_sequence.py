"""The images of a sequence, in the order in which they were received."""

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
    """An image of a sequence, stamped in nanoseconds; zero stamps are replaced by receive times."""

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
    """The images of one camera in a bag, or of a part of it.

    ``masks`` are topics that are known to be no camera. ``start_s`` and ``duration_s`` choose by receive time, from the bag's start on. ``error_counts``
    counts what went wrong, by what it was.
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
            length = None if duration_s is None else round(duration_s * 1e9)
            self._end_ns = None if length is None else self._start_ns + length
        self.is_whole = not start_s and duration_s is None
        self.expected = self.topic.count if self.is_whole else None

    def images(self) -> Iterator[tuple[StampedImage, int | None]]:
        """Yield each image and the time of the next one, None after the last.

        What cannot be decoded is counted and left out.

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
        if last is not None:
            yield last, None
        else:
            msg = f'{self.path} has no images on {self.topic.name} in the part asked for{reason}'
            raise BagError(msg)
