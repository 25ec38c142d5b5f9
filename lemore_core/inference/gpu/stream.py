"""Where the work of a device queues up: a CUDA stream, or on a CPU nothing at all."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lemore_core.inference.gpu.errors import is_out_of_memory

_log = logging.getLogger(__name__)

WARM_UPS = 3


class DeviceStream:
    """A stream of a GPU, and the memory of the CUDA graphs that are recorded on it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.is_cuda = device.type == 'cuda'
        self._stream = torch.cuda.Stream(device) if self.is_cuda else None  # type: ignore[no-untyped-call]
        self._pool = self._new_pool()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Return a context in which PyTorch's work queues up here."""
        if self._stream is None:
            yield
        else:
            with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
                yield

    def wait(self) -> None:
        """Wait until everything that queued up here is done."""
        if self._stream is not None:
            self._stream.synchronize()

    def now(self) -> Moment:
        """Return the moment at which what was queued so far is done; within :meth:`entered`."""
        return Moment(cuda=self.is_cuda)

    def wait_for_others(self) -> None:
        """Wait for what queued up elsewhere on the device, such as the copies of weights."""
        if self._stream is not None:
            torch.cuda.synchronize(self.device)

    def record(self, work: Callable[[], None], name: str) -> Callable[[], None]:
        """Return what queues ``work`` at one call: its CUDA graph, or ``work`` if there is none.

        ``work`` is run a few times first. It must not wait for the host, use the same memory
        every time, and leave nothing behind but in memory that was there before. Called within
        :meth:`entered`, as is the result. ``name`` is what a log says of it.

        Raises:
            RuntimeError: the warm-up failed, or there is no memory for the graph.

        """
        if self._stream is None:
            return work
        # what is run for the first time compiles, allocates and measures: none can be recorded
        for _ in range(WARM_UPS):
            work()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may use the GPU meanwhile. The graphs of a stream share their memory:
            # they run one after the other, and none has anything to keep.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode='thread_local'
            ):
                work()
        except Exception as error:
            # a recording that broke off may have broken the pool too
            self._pool = self._new_pool()
            if is_out_of_memory(error):
                raise
            _log.info('no CUDA graph of %s, it is started step by step: %s', name, error)
            return work
        return graph.replay

    def _new_pool(self) -> Any:
        return torch.cuda.graph_pool_handle() if self.is_cuda else None


class Moment:
    """When the work that was queued before it is done; on a CPU, now."""

    def __init__(self, *, cuda: bool) -> None:
        self._time = time.perf_counter()
        self._event = torch.cuda.Event(enable_timing=True) if cuda else None  # type: ignore[no-untyped-call]
        if self._event is not None:
            self._event.record()

    def milliseconds_since(self, before: Moment) -> float:
        """Return the time between two moments, both of which have come."""
        if self._event is None or before._event is None:
            return 1e3 * (self._time - before._time)
        return float(before._event.elapsed_time(self._event))
