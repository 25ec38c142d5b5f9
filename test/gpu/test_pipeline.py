"""The whole way over a device: on a CPU, all of it but streams and CUDA graphs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from gpu_suite import networks
from numpy.typing import NDArray
from torch import Tensor

from lemore_core.export.fold import ServingGraph
from lemore_core.images.image import CHANNELS, Image, to_network
from lemore_core.inference.backend import FP16, FP32, BackendError, DeviceMemoryError, Status
from lemore_core.inference.gpu.decode import decode
from lemore_core.inference.gpu.pipeline import PLANS_KEPT, DeviceStream, GpuPipeline
from lemore_core.inference.gpu.resize import DeviceResize
from lemore_core.inference.torch_backend import on_device
from lemore_core.segmentation import Segmentation

SIZE, SHIPPED_SIZE = (16, 24), (320, 576)
GPU = torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')
Make = Callable[..., GpuPipeline]


class Colours:
    """A network whose logits are the colours of every other pixel, and a few more."""

    def __init__(self, classes: int = 7) -> None:
        self.calls: list[int] = []
        self.failure: Exception | None = None
        self.room = 1000
        self.weights = torch.randn(3, classes, generator=torch.Generator().manual_seed(0)).to(GPU)

    def __call__(self, pixels: Tensor) -> Tensor:
        assert pixels.shape[1:] == (*SIZE, 3)
        assert pixels.dtype == torch.uint8
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if len(pixels) > self.room:
            msg = 'CUDA out of memory. Tried to allocate 2 GiB. Of the allocated memory 1 GiB is'
            raise torch.cuda.OutOfMemoryError(msg)
        self.calls.append(len(pixels))
        # not a product, whose rounding may depend on the batch
        colours = (pixels[:, ::2, ::2].float() - 128) / 64
        return (colours[..., None] * self.weights).sum(-2)


def noise(height: int, width: int, encoding: str = 'rgb8', seed: int = 0) -> Image:
    shape = (height, width, CHANNELS[encoding])
    values = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return Image(values[..., 0] if encoding == 'mono8' else values, encoding)


def check(network: Colours, image: Image, found: Segmentation) -> None:
    """Compare with the steps, one by one."""
    size = image.pixels.shape[:2]
    pixels = torch.from_numpy(image.pixels.reshape(1, *size, -1)).to(GPU)
    logits = network(DeviceResize(size, image.encoding, SIZE, GPU)(pixels))
    kind = torch.int16 if logits.shape[-1] > 255 else torch.uint8
    labels = torch.zeros(1, *size, dtype=kind, device=GPU)
    confidence = torch.zeros(1, *size, dtype=torch.uint8, device=GPU)
    decode(logits, labels, confidence, torch.zeros(1, dtype=torch.bool, device=GPU))
    np.testing.assert_array_equal(found.labels, labels[0].cpu().numpy())
    assert found.labels.dtype == (np.uint16 if kind == torch.int16 else np.uint8)
    np.testing.assert_array_equal(found.confidence, confidence[0].cpu().numpy())
    assert found.timings.total_ms > 0


@pytest.fixture
def network() -> Colours:
    return Colours()


@pytest.fixture
def make_pipeline(network: Colours) -> Iterator[Make]:
    pipelines = []

    def make(batch: int = 1, *, serves: Any = network, size: Any = SIZE, **o: Any) -> GpuPipeline:
        pipelines.append(GpuPipeline(serves, size, Status('torch', str(GPU), FP32, batch), **o))
        return pipelines[-1]

    yield make
    for pipeline in pipelines:
        pipeline.close()


@pytest.mark.parametrize('encoding', list(CHANNELS))
def test_an_image_of_each_encoding(network: Colours, make_pipeline: Make, encoding: str) -> None:
    image = noise(30, 41, encoding)
    padded = np.zeros((30, 50, *image.pixels.shape[2:]), np.uint8)
    padded[:, :41] = image.pixels
    padded.flags.writeable = False
    (found,) = make_pipeline().segment([Image(padded[:, :41], encoding)])
    check(network, image, found)


@pytest.mark.parametrize('batch', [1, 2, 3, 8])
def test_images_come_back_in_their_order(network: Colours, make_pipeline: Make, batch: int) -> None:
    kinds = [(30, 41, 'rgb8'), (30, 41, 'bgr8'), (20, 60, 'rgb8'), (30, 41, 'mono8')]
    images = [noise(*kinds[i % 3 if i < 6 else 0], seed=i) for i in range(11)]
    images.append(noise(*kinds[3]))
    pipeline = make_pipeline(batch)
    assert pipeline.segment([]) == []
    first = pipeline.segment(images)
    second = pipeline.segment([noise(*kinds[0], seed=99), *images])[1:]
    assert set(network.calls) <= {1, 2, 4, batch}
    assert max(network.calls) <= batch
    for image, one, again in zip(images, first, second, strict=True):
        check(network, image, one)  # which the next call has not changed
        check(network, image, again)


def test_more_than_255_classes(make_pipeline: Make) -> None:
    wide = Colours(300)
    images = [noise(30, 41, seed=seed) for seed in range(3)]
    found = make_pipeline(2, serves=wide).segment(images)
    for image, one in zip(images, found, strict=True):
        check(wide, image, one)
        assert one.labels.max() > 255


def test_the_kinds_that_came_last_are_kept(network: Colours, make_pipeline: Make) -> None:
    pipeline = make_pipeline()
    images = [noise(30 + i, 41) for i in range(PLANS_KEPT + 1)]

    def is_prepared(image: Image) -> bool:
        before = len(network.calls)
        pipeline.segment([image])
        # on a GPU a graph is replayed, elsewhere the network called once
        return len(network.calls) - before <= 1

    assert not any(map(is_prepared, images[:-1]))
    assert is_prepared(images[0])
    assert not is_prepared(images[-1])
    assert [is_prepared(images[i]) for i in (0, 1)] == [True, False]


def test_logits_are_the_network_s(network: Colours, make_pipeline: Make) -> None:
    pixels = np.stack([noise(*SIZE, seed=i).pixels for i in range(5)])
    logits = make_pipeline(2).logits(pixels)
    assert (logits.dtype, logits.shape) == (np.float32, (5, 8, 12, 7))
    assert logits.flags.c_contiguous
    expected = network(torch.from_numpy(pixels).to(GPU)).cpu().numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


class Broken(Colours):
    """A network whose logits of dark images hold a NaN and two infinities."""

    def __call__(self, pixels: Tensor) -> Tensor:
        logits = super().__call__(pixels)
        dark = (pixels.amax((1, 2, 3)) == 0).view(-1, 1)
        values = logits.new_tensor([torch.nan, torch.inf, -torch.inf])
        logits[:, 2, 3, :3] = torch.where(dark, values, logits[:, 2, 3, :3])
        return logits


def test_logits_that_are_not_finite_are_refused(make_pipeline: Make) -> None:
    broken = Broken()
    pipeline = make_pipeline(2, serves=broken)
    dark = Image(np.zeros((30, 41, 3), np.uint8), 'rgb8')
    pipeline.segment([noise(30, 41)])
    with pytest.raises(BackendError, match=r'^the network gave NaN or infinite logits$'):
        pipeline.segment([noise(30, 41), dark])
    check(broken, noise(30, 41), pipeline.segment([noise(30, 41)])[0])


@pytest.mark.parametrize(
    ('failure', 'message'),
    [
        (RuntimeError('an odd argument\nsecond line'), ' failed on 2 images of .*argument$'),
        (BackendError('the engine does not start'), '^the engine does not start$'),
    ],
)
def test_a_failure_costs_the_images_and_no_more(
    network: Colours, make_pipeline: Make, failure: Exception, message: str
) -> None:
    pipeline = make_pipeline(2)
    images = [noise(30, 41, seed=i) for i in range(6)]
    network.failure = failure
    with pytest.raises(BackendError, match=message):
        pipeline.segment(images)
    for image, one in zip(images, pipeline.segment(images), strict=True):
        check(network, image, one)


def test_a_batch_that_finds_no_memory_is_halved(
    network: Colours, make_pipeline: Make, caplog: pytest.LogCaptureFixture
) -> None:
    network.room = 2
    pipeline = make_pipeline(8)
    pipeline.prepare(None)
    assert pipeline.status.batch == 2
    reason = f'{GPU} has no memory left for 4 images of 48x32 bgr8, network 24x16'
    assert pipeline.status.degraded.startswith(f'batches of 2 because {reason} (CUDA out of')
    assert [record.getMessage()[:34] for record in caplog.records] == [
        'serving batches of 4 instead of 8:',
        'serving batches of 2 instead of 4:',
    ]
    images = [noise(30, 41, seed=i) for i in range(3)]
    for image, one in zip(images, pipeline.segment(images), strict=True):
        check(network, image, one)
    # while another batch runs
    images = [noise(20, 60), *images]
    for image, one in zip(images, make_pipeline(8).segment(images), strict=True):
        check(network, image, one)
    network.room = 0
    for batch, is_fixed in ((1, False), (4, True)):
        with pytest.raises(DeviceMemoryError, match='use a smaller batch or model'):
            make_pipeline(batch, is_fixed=is_fixed).segment(images)


@cache
def shipped(precision: str) -> ServingGraph:
    graph = networks.shipped('tiny', *SHIPPED_SIZE)
    return on_device(graph.halve() if precision == FP16 else graph, GPU)


@cache
def frames() -> list[NDArray[np.uint8]]:
    return networks.clip_frames(5 if GPU.type == 'cuda' else 2)


@pytest.mark.parametrize(('precision', 'share'), [(FP32, 0.999), (FP16, 0.99)])
def test_labels_of_the_clip_are_those_of_the_network_as_trained(
    make_pipeline: Make, precision: str, share: float
) -> None:
    graph = networks.shipped('tiny', *SHIPPED_SIZE, networks.PlainGraph)
    clip = frames()[: 1 if precision == FP16 and GPU.type == 'cpu' else None]
    pipeline = make_pipeline(2, serves=shipped(precision), size=SHIPPED_SIZE)
    found = pipeline.segment([Image(f, 'bgr8') for f in clip])
    same = [
        np.mean(one.labels == networks.reference_labels(graph, frame, 'bgr8'))
        for frame, one in zip(clip, found, strict=True)
    ]
    assert np.mean(same) >= share
    pixels = np.stack([to_network(frame, 'bgr8', *SHIPPED_SIZE) for frame in clip])
    with torch.inference_mode():
        described = shipped(precision)(torch.from_numpy(pixels).to(GPU))[1].cpu().numpy()
    for one, expected in zip(found, described, strict=True):
        assert one.descriptor is not None
        np.testing.assert_allclose(one.descriptor, expected, rtol=0.05, atol=0.05)


def test_a_graph_computes_what_its_steps_do(
    cuda: torch.device, make_pipeline: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cuda == GPU
    images = [Image(frame, 'bgr8') for frame in frames()[:2]]
    captured = make_pipeline(2, serves=shipped(FP16), size=SHIPPED_SIZE)
    with_graph = captured.segment(images)
    assert captured.status.degraded == '', 'the work was not captured'
    monkeypatch.setattr(DeviceStream, 'record', lambda _, work, __: work)
    without = make_pipeline(2, serves=shipped(FP16), size=SHIPPED_SIZE).segment(images)
    for one, other in zip(with_graph, without, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.confidence, other.confidence)


def test_a_full_device_costs_an_image_and_no_more(cuda: torch.device, make_pipeline: Make) -> None:
    pipeline = make_pipeline(serves=shipped(FP16), size=SHIPPED_SIZE)
    small = noise(120, 160)
    (expected,) = pipeline.segment([small])
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(cuda)
    hog = torch.empty(free - (64 << 20), dtype=torch.uint8, device=cuda)
    with pytest.raises(DeviceMemoryError, match=r'no memory left .* use a smaller batch'):
        pipeline.segment([noise(8000, 8000)])
    del hog
    torch.cuda.empty_cache()
    (again,) = pipeline.segment([small])
    np.testing.assert_array_equal(again.labels, expected.labels)


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


def test_a_lost_context_is_named_and_left_behind(cuda: torch.device) -> None:
    done = subprocess.run(
        [sys.executable, '-c', LOSE], cwd=networks.ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith(f'GPU context lost: {cuda} failed on a wrong index: ')
    assert done.returncode == 70, done.stderr


BLOCKED = ('numba', 'safetensors', 'yaml', 'scipy', 'lightning', 'rclpy', 'rosbags', 'tensorrt')
FEW_PACKAGES = f"""
import sys
sys.modules.update(dict.fromkeys({BLOCKED!r}))
import torch
torch.set_num_threads(1)
from gpu_suite import figures
measured = figures.measure(torch.device('cpu'), (64, 64), 0.05, 2)
assert measured['batch 1']['frames'] > 0
"""


def test_the_suite_needs_few_packages(run_python: Any) -> None:
    path = os.pathsep.join([str(networks.ROOT), str(networks.ROOT / 'test' / 'gpu')])
    run_python('-c', FEW_PACKAGES, PYTHONPATH=path)


@pytest.mark.parametrize(('precision', 'share'), [('auto', 0.99), ('fp32', 0.999)])
def test_the_backend_labels_as_on_the_cpu(
    cuda: torch.device, clip_frames: list[NDArray[np.uint8]], precision: str, share: float
) -> None:
    pytest.importorskip('safetensors', reason='pip install -e .')
    from lemore_core.segmenter import Segmenter, resolve_checkpoint

    path = resolve_checkpoint('tiny')
    gpu = Segmenter.load(path, precision=precision)
    cpu = Segmenter.load(path, backend='torch', device='cpu')
    expected = ('torch', str(cuda), FP16 if precision == 'auto' else FP32)
    assert (gpu.status.backend, gpu.status.device, gpu.status.precision) == expected
    same = [
        gpu.segment(frame, 'bgr8').labels == cpu.segment(frame, 'bgr8').labels
        for frame in clip_frames
    ]
    assert np.mean(same) >= share
