"""Where the work of a device queues up: a CUDA stream, or on a CPU nothing at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch

from lemore_core.common.errors import GpuContextLostError
from lemore_core.inference.gpu.errors import first_line, is_context_lost, is_out_of_memory
from lemore_core.inference.gpu.exclusive import gpu_lock

_log = logging.getLogger(__name__)

WARM_UPS = 3
# since torch 2.8, and before it
END_ALLOCATION = ('_cuda_endAllocateToPool', '_cuda_endAllocateCurrentStreamToPool')
# Captures that failed: the allocators of torch keep pointers to their graphs. After one, this
# process makes no more of them.
_failed: list[tuple[torch.cuda.CUDAGraph, str]] = []


class DeviceStream:
    """A stream of a GPU, and the memory of the CUDA graphs that are captured on it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.is_cuda = device.type == 'cuda'
        self._stream = torch.cuda.Stream(device) if self.is_cuda else None  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle() if self.is_cuda else None

    @property
    def degraded(self) -> str:
        """Why work is queued kernel by kernel, empty where CUDA graphs are used or not needed."""
        return f'without CUDA graphs: {_failed[0][1]}' if self.is_cuda and _failed else ''

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

    def wait_for_caller(self) -> None:
        """Wait for what this thread queued elsewhere on the device, such as copies of weights.

        Not for the whole device: that would break a capture on another thread.
        """
        if self.is_cuda:
            torch.cuda.current_stream(self.device).synchronize()

    def record(self, work: Callable[[], None], name: str) -> Callable[[], None]:
        """Return what queues ``work`` at one call: its CUDA graph, or ``work`` if there is none.

        ``work`` is run a few times first. It must not wait for the host, use the same memory
        every time, and leave nothing behind but in memory that was there before. Called within
        :meth:`entered`, as is the result. ``name`` is what a log says of it.

        Raises:
            GpuContextLostError: the capture failed, and has left PyTorch unusable.
            RuntimeError: the warm-up failed, or there is no memory for the graph.
        """
        if self._stream is None:
            return work
        with gpu_lock:
            # what is run for the first time compiles, allocates and measures: none can be captured
            for _ in range(WARM_UPS):
                work()
            self._stream.synchronize()
            if _failed:
                return work
            try:
                return self._capture(work)
            except GpuContextLostError:
                raise
            except Exception as error:
                if is_out_of_memory(error) or is_context_lost(error):
                    raise
                _log.warning('no CUDA graph of %s: %s', name, error)
                return work

    def _capture(self, work: Callable[[], None]) -> Callable[[], None]:
        # not torch.cuda.graph: it synchronises the device, and does not close what broke
        graph = torch.cuda.CUDAGraph()
        failure: Exception | None = None
        try:
            # Other threads may use the GPU meanwhile. The graphs of a stream share their memory:
            # they run one after the other, and none has anything to keep.
            graph.capture_begin(self._pool, capture_error_mode='thread_local')
            try:
                work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the capture must end
                failure = error
            graph.capture_end()
        except RuntimeError as error:
            failure = failure or error
            _failed.append((graph, first_line(failure)))
            if not is_context_lost(failure):
                self._close_pool(failure)
        if failure is None:
            return graph.replay
        if not _failed and not is_out_of_memory(failure):
            _failed.append((graph, first_line(failure)))
        raise failure

    def _close_pool(self, failure: Exception) -> None:
        """End the allocation to the graphs' pool, which PyTorch leaves open when a capture fails.

        ``CUDAGraph::capture_end`` throws the error of ``cudaStreamEndCapture`` before it calls
        ``endAllocateToPool``, and the allocator asserts at the next ``empty_cache`` or capture.
        """
        try:
            for name in END_ALLOCATION:
                with suppress(AttributeError):
                    getattr(torch._C, name)(self.device.index or 0, self._pool)  # noqa: SLF001
                    break
            # asserts that no capture is under way
            torch.cuda.empty_cache()
        except (RuntimeError, TypeError) as error:
            msg = f'GPU context lost: a CUDA graph failed ({failure}), then {first_line(error)}'
            raise GpuContextLostError(msg) from failure
