"""The thread on which images are segmented and their labels published."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lemore_core.common.errors import GpuContextLostError, LemoreError, in_one_line
from lemore_core.mailbox import Mailbox
from lemore_core.segmentation import Segmentation
from lemore_core.segmenter import Segmenter
from lemore_ros.node.camera_input import Arrival


class HungError(LemoreError):
    """A network that does not answer."""


class Worker:
    """Segments the newest images of a mailbox until it is stopped.

    As many as the backend gains from, each of another camera, are segmented together. Inference
    stays on this one thread, as compiled models and CUDA graphs ask for. ``on_gpu_lost`` is called
    on it where no image can be segmented any more, and need not return.
    """

    def __init__(
        self,
        mailbox: Mailbox[Arrival],
        segmenter: Segmenter,
        on_gpu_lost: Callable[[GpuContextLostError], None],
    ) -> None:
        self._mailbox = mailbox
        self._segmenter = segmenter
        self._on_gpu_lost = on_gpu_lost
        # the number of the batch in hand, zero between two, and what the last checks found
        self._batches = self._in_hand = self._found = self._checks = 0
        self._thread = threading.Thread(target=self._run, name='lemore_worker', daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 0.0) -> None:
        """Close the mailbox, drop what waits in it, and wait for the images in hand.

        Raises:
            HungError: they took longer than ``timeout_s``; zero waits for as long as it takes.
        """
        self._mailbox.close()
        if self._thread.is_alive():
            self._thread.join(timeout_s or None)
        if self._thread.is_alive():
            msg = f'the network has not answered for {timeout_s:g} s (hang_timeout_s)'
            raise HungError(msg)

    def count_stuck_checks(self) -> int:
        """Return how many calls of this in a row have found the same images in hand.

        Calls are counted and not time, which goes on while the process is stopped.
        """
        in_hand, self._found = self._found, self._in_hand
        self._checks = self._checks + 1 if in_hand and in_hand == self._found else 0
        return self._checks

    def _run(self) -> None:
        while arrivals := self._mailbox.take(self._segmenter.status.batch):
            self._batches += 1
            self._in_hand = self._batches
            self._process(arrivals)
            self._in_hand = 0
            # else the last images stay in memory until the next ones come
            del arrivals

    def _process(self, arrivals: list[Arrival]) -> None:
        for arrival in arrivals:
            arrival.output.stats.count('accepted')
        for arrival, result in self._segment(arrivals):
            self._publish(arrival, result)

    def _publish(self, arrival: Arrival, result: Segmentation) -> None:
        try:
            arrival.output.publish(arrival.image, result)
        except Exception as error:  # noqa: BLE001 - one image must not end the thread
            arrival.output.fail(in_one_line(error))

    def _segment(self, arrivals: list[Arrival]) -> list[tuple[Arrival, Segmentation]]:
        images = [arrival.image for arrival in arrivals]
        try:
            return list(zip(arrivals, self._segmenter.segment_batch(images), strict=True))
        except GpuContextLostError as error:
            self._on_gpu_lost(error)
            return []
        except Exception as error:  # noqa: BLE001 - one image must not end the thread
            if len(arrivals) == 1:
                arrivals[0].output.fail(in_one_line(error))
                return []
        # one camera's image must not cost the others theirs
        return [pair for arrival in arrivals for pair in self._segment([arrival])]
