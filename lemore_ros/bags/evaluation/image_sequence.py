"""Read the images of one camera in a bag, and match other streams to them by their stamps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

from lemore_core.common.limits import MAX_PIXELS
from lemore_core.images.image import Image
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.reader import Record, open_bag
from lemore_ros.bags.topics import camera_topic
from lemore_ros.messages.common import stamp_ns

UNREADABLE = 'images that cannot be decoded'
REMEMBERED = 16  # older items kept for moments out of order
AHEAD = 4  # newer items read for items out of order

T = TypeVar('T')


def stamp_of(message: Any, record: Record) -> int:
    """Return the stamp of a message with a header, in nanoseconds."""
    return stamp_ns(message.header) or record.time_ns


@dataclass(frozen=True)
class StampedImage:
    """Image with its stamp in nanoseconds (the receive time if the stamp is zero)."""

    time_ns: int
    received_ns: int
    image: Image = field(repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image.pixels.shape[0], self.image.pixels.shape[1]


class ImageSequence:
    """Images of a camera topic by receive time from the start of the bag; errors are counted."""

    def __init__(
        self,
        path: Path,
        topic: str = '',
        *,
        masks: Collection[str] = (),
        start_s: float = 0.0,
        duration_s: float | None = None,
        max_pixels: int = MAX_PIXELS,
        bits: int = 0,
    ) -> None:
        self.path = path
        self._limits = max_pixels, bits
        self.error_counts: Counter[str] = Counter()
        self.damage = self.reason = ''  # the reason why the first image is unreadable
        with open_bag(path, *self._limits) as bag:
            self.topic = camera_topic(bag, topic, masks)
            self._start_ns = bag.start_ns + round(start_s * 1e9)
        self._end_ns = None if duration_s is None else self._start_ns + round(duration_s * 1e9)
        self.is_whole = not start_s and duration_s is None

    def images(self) -> Iterator[tuple[StampedImage, int | None]]:
        """Yield each readable image and the stamp of the next one, None after the last."""
        last = None
        with open_bag(self.path, *self._limits) as bag:
            frames = bag.frames(self.topic, start_ns=self._start_ns, end_ns=self._end_ns)
            for record, image in frames:
                if not isinstance(image, Image):
                    self.error_counts[UNREADABLE] += 1
                    self.reason = self.reason or str(image)
                    continue
                following = StampedImage(stamp_of(image, record), record.time_ns, image)
                if last is not None:
                    yield last, following.time_ns
                last = following
            self.damage = str(bag.errors)
        if last is None:
            count = self.error_counts[UNREADABLE]
            reason = f', {count} cannot be decoded: {self.reason}' if count else ''
            msg = f'{self.path} has no images on {self.topic.name} in this part (--skip, --duration){reason}'
            raise BagError(msg)
        yield last, None


@dataclass(frozen=True)
class Stamped(Generic[T]):
    """Item with its stamp (receive time if zero), read on demand; times in nanoseconds."""

    time_ns: int
    received_ns: int
    load: Callable[[], T]


class Matcher(Generic[T]):
    """Find the item of a stream nearest to a moment; ``first_ns`` is the time of its first item."""

    def __init__(self, items: Iterator[Stamped[T]], tolerance_ns: int) -> None:
        self.first_ns: int | None = None
        self._items, self._tolerance = items, tolerance_ns
        self._waiting: list[Stamped[T]] = []

    def take(self, time_ns: int, next_ns: int | None = None) -> Stamped[T] | None:
        """Return the nearest item within the tolerance if not nearer to the next moment."""
        self._read_until(time_ns + self._tolerance)
        gaps = [
            (abs(item.time_ns - time_ns), place)
            for place, item in enumerate(self._waiting)
            if next_ns is None or abs(item.time_ns - time_ns) <= abs(item.time_ns - next_ns)
        ]
        gap, place = min(gaps, default=(self._tolerance + 1, 0))
        return None if gap > self._tolerance else self._waiting.pop(place)

    def _read_until(self, time_ns: int) -> None:
        newer = sum(item.time_ns > time_ns for item in self._waiting)
        while newer < AHEAD and (item := next(self._items, None)) is not None:
            self.first_ns = item.time_ns if self.first_ns is None else self.first_ns
            newer += item.time_ns > time_ns
            waiting = sorted([*self._waiting, item], key=attrgetter('time_ns'))
            self._waiting = waiting[-REMEMBERED - AHEAD :]
