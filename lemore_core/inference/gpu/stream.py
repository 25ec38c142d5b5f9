"""Queue a pipeline's work on a CUDA stream, and capture its CUDA graphs; on a CPU, just run it."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from lemore_core.inference.gpu.errors import first_line, is_out_of_memory

_log = logging.getLogger(__name__)

WARM_UPS = 3
# since torch 2.8, and before it
END_ALLOCATION = ('_cuda_endAllocateToPool', '_cuda_endAllocateCurrentStreamToPool')


class DeviceStream:
    """A stream of a GPU and the memory of its CUDA graphs.

    ``degraded`` is the reason for starting kernels one by one, empty with graphs.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.is_cuda = device.type == 'cuda'
        self.degraded = ''
        self._stream = torch.cuda.Stream(device) if self.is_cuda else None  # type: ignore[no-untyped-call]
        self._graphs: weakref.WeakSet[torch.cuda.CUDAGraph] = weakref.WeakSet()
        self._pool: Any = None
        if self.is_cuda:
            # the weights were copied on the current stream
            torch.cuda.current_stream(device).synchronize()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make this PyTorch's current stream for a while."""
        if self._stream is None:
            yield
        else:
            with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
                yield

    def wait(self) -> None:
        """Wait until all queued work is done."""
        if self._stream is not None:
            self._stream.synchronize()

    def record(self, work: Callable[[], None], name: str) -> Callable[[], None]:
        """Run ``work`` a few times, and return its CUDA graph's replay, or ``work`` without graphs.

        ``work`` must not wait for the host, and use the same memory every time. Called within
        :meth:`entered`, as is the result. ``name`` is for the log.
        """
        if self._stream is None:
            return work
        # the first runs compile, allocate and measure, which cannot be captured
        for _ in range(WARM_UPS):
            work()
        self._stream.synchronize()
        if self.degraded:
            return work
        try:
            return self._capture(work)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            # raises if the context is lost
            self._stream.synchronize()
            self.degraded = f'without CUDA graphs: {first_line(error)}'
            _log.warning('no CUDA graph of %s, its kernels are started one by one: %s', name, error)
            return work

    def _capture(self, work: Callable[[], None]) -> Callable[[], None]:
        # not torch.cuda.graph: it synchronises the device, and does not close a broken capture
        graph = torch.cuda.CUDAGraph()
        if not self._graphs:
            # a pool whose last graph is gone asserts at the next capture
            self._pool = torch.cuda.graph_pool_handle()
        failure: Exception | None = None
        try:
            # the graphs of a stream share memory: they run in turn
            graph.capture_begin(self._pool, capture_error_mode='thread_local')
            try:
                work()
            except Exception as error:  # noqa: BLE001 - the capture must end all the same
                failure = error
            graph.capture_end()
        except RuntimeError as error:
            failure = failure or error
            self._close(graph)
        if failure is not None:
            raise failure
        self._graphs.add(graph)
        return graph.replay

    def _close(self, graph: torch.cuda.CUDAGraph) -> None:
        """End the allocation to the pool of a capture that failed: torch before 2.13 does not."""
        with suppress(RuntimeError):
            graph.reset()
        for name in END_ALLOCATION:
            if hasattr(torch._C, name):  # noqa: SLF001
                with suppress(RuntimeError, TypeError):
                    getattr(torch._C, name)(self.device.index or 0, self._pool)  # noqa: SLF001
                break
        self._pool = None
