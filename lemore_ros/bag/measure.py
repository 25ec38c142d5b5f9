"""How fast a bag is labelled on this machine, and what the steps gain by working at once."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lemore_core.deploy.pixels import Picture
from lemore_core.process_memory import process_memory
from lemore_core.segmenter import Segmenter
from lemore_ros.bag.cores import leaving_a_core
from lemore_ros.bag.errors import BagError
from lemore_ros.bag.options import SegmentOptions
from lemore_ros.bag.reader import decode
from lemore_ros.bag.segment import Job, Session, begin
from lemore_ros.images import Frame

PICTURES = 8


@dataclass(frozen=True)
class Rates:
    """Frames a second: one step after the other, all at once, and of the network alone.

    The network's rate is that of pictures in memory to labels, with all cores and nothing else to
    do. ``peak_mb`` is the most memory (10^6 bytes) of this process.
    """

    frames: int
    plain_hz: float
    pipelined_hz: float
    network_hz: float
    peak_mb: float

    @property
    def gain(self) -> float:
        """How many times faster all at once is."""
        return self.pipelined_hz / self.plain_hz


def measure(source: Path, options: SegmentOptions, *, turns: int) -> Rates:
    """Label the same stretch of a bag both ways, ``turns`` times by turns, and take the best.

    By turns, because other programs take a share of the machine that changes with time.

    Raises:
        LemoreError: the bag cannot be labelled.

    """
    pictures = _pictures(source, options)
    segmenter = _loaded(options, pictures)
    with leaving_a_core():
        beside = _loaded(options, pictures)
    plain: list[float] = []
    pipelined: list[float] = []
    network: list[float] = []
    frames = 0
    with tempfile.TemporaryDirectory(prefix='lemore-bag-') as folder:
        for turn in range(turns):
            network.append(_network_rate(segmenter, pictures))
            for is_plain, rates in ((True, plain), (False, pipelined)):
                job = Job(source, Path(folder, f'{turn}-{is_plain}'), options)
                network_of = segmenter if is_plain else beside
                frames, seconds = _time(job, network_of, is_plain=is_plain)
                rates.append(frames / seconds)
    return Rates(
        frames,
        plain_hz=round(max(plain), 1),
        pipelined_hz=round(max(pipelined), 1),
        network_hz=round(max(network), 1),
        peak_mb=round(process_memory().peak_mb, 1),
    )


def _time(job: Job, segmenter: Segmenter, *, is_plain: bool) -> tuple[int, float]:
    plan, parts, _ = begin(job, resume=False)
    with Session(plan.job, segmenter=segmenter, is_plain=is_plain) as session:
        started = time.perf_counter()
        frames = sum(session.make(part).frames for part in parts)
        return frames, time.perf_counter() - started


def _loaded(options: SegmentOptions, pictures: list[Picture]) -> Segmenter:
    segmenter = options.model.load()
    # the first picture of a size loads the network for it
    segmenter.segment_batch(pictures[:1])
    return segmenter


def _network_rate(segmenter: Segmenter, pictures: list[Picture]) -> float:
    started = time.perf_counter()
    batch = segmenter.status.batch
    for first in range(0, len(pictures), batch):
        segmenter.segment_batch(pictures[first : first + batch])
    return len(pictures) / (time.perf_counter() - started)


def _pictures(source: Path, options: SegmentOptions) -> list[Picture]:
    anywhere = dataclasses.replace(options, only_results=True)
    found: list[Picture] = []
    with Session(Job(source, source, anywhere)) as session:
        for record in session.bag.messages([session.cameras[0].topic]):
            frame = decode(record)
            if isinstance(frame, Frame):
                found.append(Picture(frame.pixels, frame.encoding))
            if len(found) == PICTURES:
                return found
    if not found:
        msg = f'{source} holds no image that can be labelled'
        raise BagError(msg)
    return found
