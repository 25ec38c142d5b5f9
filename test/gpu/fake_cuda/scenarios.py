"""CUDA calls that fail, under ``fakecudart.cpp``: one process a function (``test_fake_cuda.py``)."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lemore_core.common.errors import GpuContextLostError
from lemore_core.images.image import Image
from lemore_core.inference.backend import BackendError, DeviceMemoryError, Status
from lemore_core.inference.gpu import pipeline as pipeline_module
from lemore_core.inference.gpu.decode import decode
from lemore_core.inference.gpu.pipeline import GpuPipeline

OUT_OF_MEMORY, ILLEGAL_ADDRESS, CAPTURING, INVALIDATED, UNKNOWN = 2, 700, 900, 901, 999
WITHOUT_GRAPHS = 'without CUDA graphs: '
FAKE: Any = ctypes.CDLL(None)
FAKE.fake_count.restype = ctypes.c_long
FAKE.fake_used.restype = ctypes.c_size_t


def fail(call: str, error: int, after: int = 0) -> None:
    """Let a call of the runtime fail once, after so many that succeed."""
    FAKE.fake_fail(call.encode(), after, error)


def count(call: str) -> int:
    return int(FAKE.fake_count(call.encode()))


def leave() -> None:
    """End the process as the node does: destructors of a lost GPU's memory would abort it."""
    print('right', flush=True)
    os._exit(0)


def network(pixels: Tensor) -> Tensor:
    """Map pixels to logits in kernels of PyTorch's own: cuDNN does not run here."""
    x = torch.nn.functional.avg_pool2d(pixels.float().permute(0, 3, 1, 2), 8)
    return torch.cat([x] * 4, 1).permute(0, 2, 3, 1).contiguous()


def make(batch: int = 1) -> GpuPipeline:
    return GpuPipeline(network, (64, 128), Status('torch', 'cuda:0', 'fp16', batch))


def image(height: int = 96, width: int = 160) -> Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image(values, 'rgb8')


def segment(pipeline: GpuPipeline, *images: Image) -> BackendError | GpuContextLostError | None:
    """Return the error of the pipeline."""
    try:
        pipeline.segment(images or [image()])
    except (BackendError, GpuContextLostError) as error:
        return error
    return None


def decode_finite(logits: Tensor, labels: Tensor, confidence: Tensor, finite: Tensor) -> None:
    """Decode, and copy that all is finite: kernels do nothing here, copies are real."""
    decode(logits, labels, confidence, finite)
    finite.copy_(IS_FINITE[: len(finite)])


def a_graph_is_captured_and_replayed() -> None:
    pipeline = make()
    assert segment(pipeline) is None
    assert pipeline.status.degraded == ''
    assert count('cudaGraphInstantiateWithFlags') == 1
    launches = count('cudaGraphLaunch')
    assert segment(pipeline) is None
    assert count('cudaGraphLaunch') == launches + 1
    # the node loads on another thread than it serves on
    with ThreadPoolExecutor(1) as pool:
        for size in ((96, 160), (64, 128)):
            assert pool.submit(segment, pipeline, image(*size)).result() is None
    assert pipeline.status.degraded == ''
    assert count('cudaGraphInstantiateWithFlags') == 2
    pipeline.close()


def a_capture_that_does_not_end() -> None:
    pipeline = make()
    fail('cudaStreamEndCapture', INVALIDATED)
    assert segment(pipeline) is None
    assert pipeline.status.degraded.startswith(WITHOUT_GRAPHS)
    torch.cuda.empty_cache()
    other = make()
    assert segment(other) is None
    assert other.status.degraded == '', 'another pipeline captures'
    assert torch.zeros(100, pin_memory=True).is_pinned()
    pipeline.close()
    other.close()


def a_call_without_memory() -> None:
    for call in ('cudaHostAlloc', 'cudaGraphInstantiateWithFlags', 'cudaGraphLaunch'):
        pipeline = make()
        # of the second batch, while the first is running
        fail(call, OUT_OF_MEMORY, 2 * (call == 'cudaHostAlloc') + 1)
        for _ in range(3):
            assert segment(pipeline, image(), image(64, 128)) is None
        assert pipeline.status.degraded == '', call
        pipeline.close()


def a_capture_that_does_not_begin() -> None:
    pipeline = make()
    fail('cudaStreamBeginCapture', CAPTURING)
    assert segment(pipeline) is None
    assert pipeline.status.degraded.startswith(WITHOUT_GRAPHS)
    assert segment(pipeline) is None
    torch.cuda.empty_cache()


def lose(error: int) -> None:
    """Let an error stay: the pipeline frees nothing after it."""
    pipeline = make()
    assert segment(pipeline) is None
    freed, launches = (count('cudaFree'), count('cudaFreeHost')), count('cudaGraphLaunch')
    fail('cudaEventSynchronize', error)
    assert isinstance(segment(pipeline, *[image()] * 3), GpuContextLostError)
    assert count('cudaGraphLaunch') == launches + 2, 'two batches run before one is waited for'
    assert isinstance(segment(pipeline), GpuContextLostError)
    assert (count('cudaFree'), count('cudaFreeHost')) == freed
    leave()


def a_lost_context() -> None:
    lose(ILLEGAL_ADDRESS)


def an_unknown_error_that_stays() -> None:
    lose(UNKNOWN)


def every_allocation_in_turn() -> None:
    tries = 0
    for number in range(60):
        pipeline = make()
        torch.cuda.empty_cache()
        before = count('cudaMalloc')
        fail('cudaMalloc', OUT_OF_MEMORY, number)
        assert segment(pipeline, image(700, 900)) is None, f'allocation {number}'
        used = count('cudaMalloc') - before
        FAKE.fake_clear()
        assert segment(pipeline) is None
        assert pipeline.status.degraded == '', f'allocation {number}: {pipeline.status.degraded}'
        pipeline.close()
        tries = number
        if used <= number:
            break
    assert 2 < tries < 59


def no_memory_for_the_batch() -> None:
    pipeline = make(4)
    free = ctypes.c_size_t(FAKE.fake_used() + (200 << 20))
    FAKE.fake_total(free)
    images = [image(1024, 1024)] * 4
    assert (error := segment(pipeline, *images)) is None, error
    assert pipeline.status.batch < 4
    assert pipeline.status.degraded.startswith('batches of ')
    FAKE.fake_total(ctypes.c_size_t(FAKE.fake_used()))
    assert isinstance(segment(pipeline, image(2048, 2048)), DeviceMemoryError)
    FAKE.fake_total(ctypes.c_size_t(2 << 30))
    assert segment(pipeline) is None


def many_pipelines_in_turn() -> None:
    reserved = []
    for _ in range(40):
        pipeline = make(4)
        assert segment(pipeline, *[image()] * 4) is None
        assert segment(pipeline, image(64, 128)) is None
        pipeline.close()
        del pipeline
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[5] == reserved[-1]


def many_kinds_of_images() -> None:
    pipeline = make()
    reserved = []
    for number in range(30):
        assert segment(pipeline, image(60 + 8 * number, 100)) is None
        reserved.append(torch.cuda.memory_reserved())
    assert pipeline.status.degraded == ''
    assert reserved[-1] == reserved[20], 'some plans are dropped for each new one'


if __name__ == '__main__':
    logging.basicConfig(level=logging.INFO)
    # it would look for a real driver
    sys.modules['triton'] = None  # type: ignore[assignment]
    IS_FINITE = torch.ones(8, dtype=torch.bool).cuda()
    pipeline_module.decode = decode_finite
    globals()[sys.argv[1]]()
    print('right', flush=True)
