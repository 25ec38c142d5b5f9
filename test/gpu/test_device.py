"""Resize, decode and the whole way on a GPU against the CPU.

``run_gpu_suite.sh`` runs them with few packages, and without a GPU on the CPU, as far as they go.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from lemore_core.images.image import CHANNELS, Image, to_network
from lemore_core.inference.backend import FP16, FP32, DeviceMemoryError, Status
from lemore_core.inference.gpu.decode import decode, decode_plainly
from lemore_core.inference.gpu.network import DeviceNetwork, place
from lemore_core.inference.gpu.pipeline import GpuPipeline
from lemore_core.inference.gpu.resize import DeviceResize
from lemore_core.inference.gpu.stream import DeviceStream

CUDA = torch.cuda.is_available()
if not CUDA and not os.environ.get('LEMORE_GPU_SUITE'):
    pytest.skip('no CUDA device is here', allow_module_level=True)

from gpu_suite import networks  # noqa: E402 - it is of no use before

DEVICE = torch.device('cuda:0' if CUDA else 'cpu')
SIZE = (320, 576)
FRAMES = 5
needs_cuda = pytest.mark.skipif(not CUDA, reason='no CUDA device is here')


def random(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def noise(height: int, width: int, encoding: str = 'rgb8', seed: int = 0) -> Image:
    values = np.random.default_rng(seed).integers(
        0, 256, (height, width, CHANNELS[encoding]), np.uint8
    )
    return Image(values[..., 0] if encoding == 'mono8' else values, encoding)


@cache
def frames() -> list[NDArray[np.uint8]]:
    return networks.clip_frames(FRAMES)


@cache
def reference() -> list[NDArray[np.uint8]]:
    graph = networks.shipped('tiny', *SIZE, folded=False)
    return [networks.reference_labels(graph, frame, 'bgr8') for frame in frames()]


@cache
def network(precision: str) -> DeviceNetwork:
    graph = networks.shipped('tiny', *SIZE)
    return DeviceNetwork(graph.halve() if precision == FP16 else graph, DEVICE)


@pytest.fixture
def make_pipeline() -> Iterator[Callable[..., GpuPipeline]]:
    pipelines = []

    def make(precision: str = FP16 if CUDA else FP32, batch: int = 1) -> GpuPipeline:
        status = Status('torch', str(DEVICE), precision, batch)
        pipelines.append(GpuPipeline(network(precision), SIZE, status))
        return pipelines[-1]

    yield make
    for pipeline in pipelines:
        pipeline.close()


@needs_cuda
@pytest.mark.parametrize('encoding', list(CHANNELS))
@pytest.mark.parametrize(
    'source', [(480, 640), (540, 960), (1080, 1920), (320, 576), (640, 1152), (200, 1000)]
)
def test_pixels_are_resized_as_on_the_cpu(source: tuple[int, int], encoding: str) -> None:
    images = [noise(*source, encoding, seed) for seed in range(2)]
    resize = DeviceResize(source, encoding, SIZE, DEVICE)
    batch = np.stack([image.pixels.reshape(*source, -1) for image in images])
    found = resize(torch.from_numpy(batch).to(DEVICE)).cpu().numpy()
    expected = np.stack([to_network(image.pixels, image.encoding, *SIZE) for image in images])
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference == 0) >= 0.85


@pytest.mark.parametrize('kind', [torch.float32, torch.float16])
@pytest.mark.parametrize(
    'classes', [1, 2, 11, 19, 150, 171, 255, 256, 300] if CUDA else [1, 19, 256]
)
@pytest.mark.parametrize('size', [(512, 512) if CUDA else (99, 128), (333, 517), (31, 40)])
def test_logits_are_decoded_as_defined(
    classes: int, size: tuple[int, int], kind: torch.dtype
) -> None:
    planes = torch.from_numpy(random(2, classes, 40, 44)).to(DEVICE, kind)
    smooth = functional.avg_pool2d(planes.float(), 5, 1, 2).to(kind) * 5
    for logits in (planes.permute(0, 2, 3, 1), smooth.permute(0, 2, 3, 1).contiguous()):
        labels, confidence, finite = decoded(logits, size)
        assert finite.all()
        check_decoded(logits, labels, confidence)


def decoded(
    logits: torch.Tensor, size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    count, classes, device = len(logits), logits.shape[-1], logits.device
    kind = torch.uint8 if classes <= 255 else torch.int16
    labels = torch.zeros(count, *size, dtype=kind, device=device)
    confidence = torch.zeros(count, *size, dtype=torch.uint8, device=device)
    finite = torch.zeros(count, dtype=torch.bool, device=device)
    decode(logits, labels, confidence, finite)
    return labels, confidence, finite


@needs_cuda
def test_the_kernel_decodes_on_this_gpu() -> None:
    pytest.importorskip('triton', reason='pip install triton')
    from lemore_core.inference.gpu.decode_kernel import decode_fused

    logits = torch.from_numpy(random(2, 64, 64, 150)).to(DEVICE).half()
    found, expected = (
        torch.zeros(2, 2, 512, 512, dtype=torch.uint8, device=DEVICE) for _ in range(2)
    )
    decode_fused(logits, *found)
    decode_plainly(logits, *expected)
    assert (found[0] == expected[0]).float().mean() > 0.999


def check_decoded(logits: torch.Tensor, labels: torch.Tensor, confidence: torch.Tensor) -> None:
    """Compare with upsampling in double precision wherever the best two classes are apart."""
    ids = labels.long() & 0xFFFF
    values = logits.double()
    for maps, found in ((values, None), (values.softmax(-1), confidence)):
        full = functional.interpolate(
            maps.permute(0, 3, 1, 2), ids.shape[1:], mode='bilinear', align_corners=False
        )
        chosen = full.gather(1, ids[:, None])[:, 0]
        if found is None:
            best = full.topk(min(2, full.shape[1]), dim=1).values
            clear = (best[:, 0] - best[:, -1] > 1e-3) | (full.shape[1] == 1)
            assert torch.equal(ids[clear], full.argmax(1)[clear])
            assert (best[:, 0] - chosen).max() <= 1e-3
        else:
            assert (found.double() - 255 * chosen).abs().max() <= 0.52


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_found(value: float) -> None:
    logits = torch.from_numpy(random(2, 9, 9, 4)).to(DEVICE)
    logits[1, 4, 4, 2] = value
    labels, _, finite = decoded(logits, (72, 72))
    assert finite.tolist() == [True, False]
    assert labels.max() < 4


@pytest.mark.parametrize(('precision', 'share'), [(FP16, 0.99), (FP32, 0.999)])
def test_labels_of_the_clip_are_those_of_the_cpu(
    make_pipeline: Callable[..., GpuPipeline], precision: str, share: float
) -> None:
    if not CUDA and precision == FP16:
        pytest.skip('half precision on a CPU takes too long')
    pipeline = make_pipeline(precision, batch=2)
    found = pipeline.segment([Image(frame, 'bgr8') for frame in frames()])
    same = [np.mean(one.labels == other) for one, other in zip(found, reference(), strict=True)]
    assert np.mean(same) >= share


@needs_cuda
@pytest.mark.parametrize(('precision', 'share'), [('auto', 0.99), ('fp32', 0.999)])
def test_a_segmenter_labels_as_on_the_cpu(precision: str, share: float) -> None:
    pytest.importorskip('safetensors', reason='pip install -e .')
    from lemore_core.segmenter import Segmenter

    gpu = Segmenter.load('tiny', backend='torch', device='cuda', precision=precision)
    cpu = Segmenter.load('tiny', backend='torch', device='cpu')
    assert gpu.status.device == Segmenter.load('tiny').status.device == 'cuda:0'
    assert gpu.status.precision == (FP16 if precision == 'auto' else FP32)
    same = [
        gpu.segment(frame, 'bgr8').labels == cpu.segment(frame, 'bgr8').labels for frame in frames()
    ]
    assert np.mean(same) >= share


@needs_cuda
def test_a_graph_computes_what_its_steps_do(
    make_pipeline: Callable[..., GpuPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [Image(frame, 'bgr8') for frame in frames()[:2]]
    captured = make_pipeline(batch=2)
    with_graph = captured.segment(images)
    assert captured.status.degraded == '', 'the work was not captured'
    monkeypatch.setattr(DeviceStream, 'record', lambda _, work, __: work)
    without = make_pipeline(batch=2).segment(images)
    for one, other in zip(with_graph, without, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.confidence, other.confidence)


def test_batches_say_what_single_images_say(make_pipeline: Callable[..., GpuPipeline]) -> None:
    images = [noise(100, 150, seed=i) for i in range(6)]
    images += [noise(90, 150, 'bgr8', i) for i in range(3)]
    pipeline = make_pipeline(batch=4)
    together = pipeline.segment(images)
    kept = [one.labels.copy() for one in together]
    for image, one, labels in zip(images, together, kept, strict=True):
        (alone,) = pipeline.segment([image])
        np.testing.assert_array_equal(alone.labels, one.labels)
        np.testing.assert_array_equal(one.labels, labels, 'a result changed with the next one')


def test_more_kinds_of_images_than_are_kept(make_pipeline: Callable[..., GpuPipeline]) -> None:
    pipeline = make_pipeline()
    images = [noise(60 + 10 * i, 80 + 7 * i, seed=i) for i in range(10)]
    first = [pipeline.segment([image])[0] for image in images]
    again = [pipeline.segment([image])[0] for image in reversed(images)]
    for one, other, image in zip(first, reversed(again), images, strict=True):
        assert one.labels.shape == image.pixels.shape[:2]
        np.testing.assert_array_equal(one.labels, other.labels)


@needs_cuda
def test_a_full_device_costs_an_image_and_no_more(
    make_pipeline: Callable[..., GpuPipeline],
) -> None:
    pipeline = make_pipeline()
    small = noise(120, 160)
    (expected,) = pipeline.segment([small])
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(DEVICE)
    hog = torch.empty(free - (64 << 20), dtype=torch.uint8, device=DEVICE)
    with pytest.raises(DeviceMemoryError, match=r'no memory left .* use a smaller batch'):
        pipeline.segment([noise(8000, 8000)])
    del hog
    torch.cuda.empty_cache()
    (again,) = pipeline.segment([small])
    np.testing.assert_array_equal(again.labels, expected.labels)


@needs_cuda
@pytest.mark.parametrize('precision', [FP16, FP32])
def test_a_network_is_placed_in_its_precision(precision: str) -> None:
    graph = networks.shipped('nano', *SIZE)
    placed, degraded = place(graph, networks.WEIGHTS, DEVICE, precision)
    assert (placed.precision, degraded) == (precision, '')


@needs_cuda
def test_a_broken_capture_leaves_a_process_that_goes_on() -> None:
    is_broken = True

    def broken(pixels: torch.Tensor) -> torch.Tensor:
        if is_broken and torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize()  # which no capture survives
        return network(FP16)(pixels)

    status = Status('torch', str(DEVICE), FP16)
    image = Image(frames()[0], 'bgr8')
    pipeline = GpuPipeline(broken, SIZE, status)
    (found,) = pipeline.segment([image])
    assert pipeline.status.degraded.startswith('without CUDA graphs: ')
    torch.cuda.empty_cache()
    is_broken = False
    other = GpuPipeline(broken, SIZE, status)
    (again,) = other.segment([image])
    np.testing.assert_array_equal(again.labels, found.labels)
    assert other.status.degraded == ''


LOSE = """
import os
import torch
from lemore_core.common.errors import GpuContextLostError
from lemore_core.inference.gpu.errors import guarded
def work():
    there = torch.zeros(8, pin_memory=True).to('cuda', non_blocking=True)
    there[torch.tensor([99], device='cuda')].cpu()
try:
    guarded(work, torch.device('cuda:0'), 'a wrong index')
except GpuContextLostError as error:
    print(error, flush=True)
    os._exit(70)
"""


@needs_cuda
def test_a_lost_context_is_named_and_left_behind() -> None:
    done = subprocess.run(
        [sys.executable, '-c', LOSE], cwd=networks.ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith('GPU context lost: cuda:0 failed on a wrong index: ')
    assert done.returncode == 70, done.stderr
