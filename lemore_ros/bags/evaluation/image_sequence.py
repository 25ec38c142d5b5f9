"""Read the images of one camera in a bag, and match other streams to them by their stamps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

from lemore_core.common.limits import MAX_PIXELS
from lemore_core.common.timeline import LONGEST_DELAY_NS
from lemore_core.images.image import Image
from lemore_ros.bags.errors import BagError, ReadErrors
from lemore_ros.bags.reader import Record, open_bag
from lemore_ros.bags.topics import camera_topic
from lemore_ros.messages.common import stamp_ns

UNREADABLE = 'images that cannot be decoded'
REMEMBERED = 16  # older items kept for moments out of order
AHEAD = 4  # newer items read for items out of order
LATE_NS = 10 * 10**9  # items are received sooner after what they belong to
LONGEST_PAUSE_NS = 86_400 * 10**9  # longer ones are other clocks

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
        self.reason = ''  # why the first image is unreadable
        self._errors = ReadErrors()
        with open_bag(path, *self._limits) as bag:
            self.topic = camera_topic(bag, topic, masks)
            self._start_ns = bag.start_ns + round(start_s * 1e9)
        self._end_ns = None if duration_s is None else self._start_ns + round(duration_s * 1e9)
        self.is_whole = not start_s and duration_s is None

    @property
    def damage(self) -> str:
        """What of the bag could not be read so far."""
        return str(self._errors)

    def images(self) -> Iterator[tuple[StampedImage, int | None]]:
        """Yield each readable image and the stamp of the next one, None after the last."""
        last = None
        with open_bag(self.path, *self._limits) as bag:
            self._errors = bag.errors
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
    """Find the item of a stream nearest to a moment; ``first_ns`` is the time of its first item.

    Once stamps jump (zeros in simulated time, a drive that is played again), they do not tell how
    far to read: if a moment is received within ``span``, the receive times of the stream, these do.
    """

    def __init__(
        self,
        items: Iterator[Stamped[T]],
        tolerance_ns: int,
        span: tuple[int, int] = (0, 0),
        remembered: int = REMEMBERED,
    ) -> None:
        self.first_ns: int | None = None
        self._items, self._tolerance, self._span = items, tolerance_ns, span
        self._most = remembered + AHEAD
        self._waiting: list[Stamped[T]] = []
        self._moment_ns: int | None = None
        self._read: Stamped[T] | None = None  # last
        self._delay = 0  # of the last item's receive time
        self._jumps = False

    def take(
        self, time_ns: int, next_ns: int | None = None, received_ns: int = 0
    ) -> Stamped[T] | None:
        """Return the nearest item within the tolerance if not nearer to the next moment."""
        self._jumps |= _is_jump(self._moment_ns, time_ns)
        self._moment_ns = time_ns
        self._read_until(time_ns, received_ns)
        gaps = [
            (abs(item.time_ns - time_ns), place)
            for place, item in enumerate(self._waiting)
            if next_ns is None or abs(item.time_ns - time_ns) <= abs(item.time_ns - next_ns)
        ]
        gap, place = min(gaps, default=(self._tolerance + 1, 0))
        if gap > self._tolerance:
            return None
        self._delay = self._waiting[place].received_ns - received_ns
        return self._waiting.pop(place)

    def _read_until(self, time_ns: int, received_ns: int) -> None:
        first, last = self._span
        expected = received_ns + self._delay
        while True:
            by_receipt = self._jumps and first <= received_ns <= last
            steps = [item.time_ns - time_ns for item in self._waiting]
            if by_receipt and (
                0 in steps or (self._read and self._read.received_ns > expected + LATE_NS)
            ):
                return
            if not by_receipt and sum(step > self._tolerance for step in steps) >= AHEAD:
                return
            if (item := next(self._items, None)) is None:
                return
            self.first_ns = item.time_ns if self.first_ns is None else self.first_ns
            self._jumps |= _is_jump(self._read.time_ns if self._read else None, item.time_ns)
            self._jumps |= abs(item.time_ns - time_ns) > LONGEST_PAUSE_NS
            self._read = item
            waiting = sorted([*self._waiting, item], key=attrgetter('time_ns'))
            if by_receipt:
                waiting = [one for one in waiting if one.received_ns >= expected - LATE_NS]
            self._waiting = waiting if by_receipt else waiting[-self._most :]


def _is_jump(last_ns: int | None, time_ns: int) -> bool:
    return last_ns is not None and not -LONGEST_DELAY_NS <= time_ns - last_ns <= LONGEST_PAUSE_NS
