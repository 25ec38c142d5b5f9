"""The way over a device, with the CPU for a device: all of it but streams and CUDA graphs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from lemore_core.export.graph import load_graph
from lemore_core.images.image import CHANNELS, Image, to_network
from lemore_core.inference import torch_backend
from lemore_core.inference.backend import (
    FP16,
    FP32,
    BackendError,
    DeviceMemoryError,
    ServingRequest,
    Status,
)
from lemore_core.inference.cpu.decode import decode
from lemore_core.inference.cpu.pipeline import CpuPipeline
from lemore_core.inference.gpu.network import DeviceNetwork, place
from lemore_core.inference.gpu.pipeline import GpuPipeline
from lemore_core.segmentation import Segmentation
from lemore_core.segmenter import resolve_checkpoint

ROOT = Path(__file__).parents[4]
CPU = torch.device('cpu')
SIZE = (16, 24)
SHIPPED_SIZE = (320, 576)


class Colours:
    """A network whose logits are the colours of every other pixel, and a few more."""

    def __init__(self, classes: int = 7) -> None:
        self.calls: list[int] = []
        self.failure: Exception | None = None
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.randn(3, classes, generator=generator)

    def __call__(self, pixels: Tensor) -> Tensor:
        assert pixels.shape[1:] == (*SIZE, 3)
        assert pixels.dtype == torch.uint8
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        self.calls.append(len(pixels))
        return (pixels[:, ::2, ::2].float() - 128) / 64 @ self.weights


def noise(height: int, width: int, encoding: str = 'rgb8', seed: int = 0) -> Image:
    shape = (height, width, CHANNELS[encoding])
    values = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return Image(values[..., 0] if encoding == 'mono8' else values, encoding)


def expected(network: Colours, image: Image) -> tuple[NDArray[np.integer], NDArray[np.uint8]]:
    pixels = to_network(image.pixels, image.encoding, *SIZE)
    logits = network(torch.from_numpy(pixels)[None])[0].numpy()
    return decode(np.ascontiguousarray(logits), *image.pixels.shape[:2])


def check(network: Colours, image: Image, found: Segmentation) -> None:
    labels, confidence = expected(network, image)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.labels.dtype == labels.dtype
    assert np.abs(found.confidence.astype(int) - confidence).max() <= 1
    assert found.labels.flags.owndata
    assert found.timings.total_ms > 0


@pytest.fixture
def network() -> Colours:
    return Colours()


@pytest.fixture
def make_pipeline(network: Colours) -> Iterator[Callable[..., GpuPipeline]]:
    pipelines = []

    def make(batch: int = 1, *, serves: Colours = network, **options: Any) -> GpuPipeline:
        status = Status('torch', 'cpu', FP32, batch)
        pipelines.append(GpuPipeline(serves, SIZE, status, **options))
        return pipelines[-1]

    yield make
    for pipeline in pipelines:
        pipeline.close()


@pytest.mark.parametrize('encoding', list(CHANNELS))
def test_an_image_of_each_encoding(
    network: Colours, make_pipeline: Callable[..., GpuPipeline], encoding: str
) -> None:
    image = noise(30, 41, encoding)
    (found,) = make_pipeline().segment([image])
    check(network, image, found)


@pytest.mark.parametrize('batch', [1, 2, 3, 8])
def test_images_come_back_in_their_order(
    network: Colours, make_pipeline: Callable[..., GpuPipeline], batch: int
) -> None:
    kinds = [(30, 41, 'rgb8'), (30, 41, 'bgr8'), (20, 60, 'rgb8'), (30, 41, 'mono8')]
    images = [noise(*kinds[i % 3 if i < 6 else 0], seed=i) for i in range(11)]
    images.append(noise(*kinds[3]))
    pipeline = make_pipeline(batch)
    for _ in range(2):
        found = pipeline.segment(images)
        assert len(found) == len(images)
        for image, one in zip(images, found, strict=True):
            check(network, image, one)
    assert set(network.calls) <= {1, 2, 4, batch}
    assert max(network.calls[:-12]) <= batch


def test_padded_and_read_only_pixels_are_taken(
    network: Colours, make_pipeline: Callable[..., GpuPipeline]
) -> None:
    image = noise(30, 41)
    padded = np.zeros((30, 50, 3), np.uint8)
    padded[:, :41] = image.pixels
    padded.flags.writeable = False
    (found,) = make_pipeline().segment([Image(padded[:, :41], 'rgb8')])
    check(network, image, found)


def test_a_result_stays_what_it_was(make_pipeline: Callable[..., GpuPipeline]) -> None:
    pipeline = make_pipeline(2)
    (first,) = pipeline.segment([noise(30, 41)])
    labels, confidence = first.labels.copy(), first.confidence.copy()
    pipeline.segment([noise(30, 41, seed=1), noise(30, 41, seed=2)])
    np.testing.assert_array_equal(first.labels, labels)
    np.testing.assert_array_equal(first.confidence, confidence)


def test_more_than_255_classes(make_pipeline: Callable[..., GpuPipeline]) -> None:
    wide = Colours(300)
    images = [noise(30, 41, seed=seed) for seed in range(3)]
    found = make_pipeline(2, serves=wide).segment(images)
    for image, one in zip(images, found, strict=True):
        check(wide, image, one)
        assert one.labels.max() > 255


def test_the_kinds_that_came_last_are_kept(
    network: Colours, make_pipeline: Callable[..., GpuPipeline]
) -> None:
    pipeline = make_pipeline(plans_kept=2)
    first, second, third = (noise(30 + i, 41) for i in range(3))

    def runs(image: Image) -> int:
        before = len(network.calls)
        pipeline.segment([image])
        return len(network.calls) - before

    # the first run finds the number of classes
    assert [runs(p) for p in (first, second, first, third, first, second)] == [2, 2, 1, 2, 1, 2]


def test_logits_are_the_network_s(
    network: Colours, make_pipeline: Callable[..., GpuPipeline]
) -> None:
    pixels = np.stack([noise(*SIZE, seed=i).pixels for i in range(5)])
    logits = make_pipeline(2).logits(pixels)
    assert (logits.dtype, logits.shape) == (np.float32, (5, 8, 12, 7))
    assert logits.flags.c_contiguous
    np.testing.assert_allclose(logits, network(torch.from_numpy(pixels)).numpy(), rtol=1e-5)


class Broken(Colours):
    """A network whose logits of dark images hold a NaN and two infinities."""

    def __call__(self, pixels: Tensor) -> Tensor:
        logits = super().__call__(pixels)
        dark = (pixels.amax((1, 2, 3)) == 0).view(-1, 1)
        logits[:, 2, 3, :3] = torch.where(
            dark, torch.tensor([torch.nan, torch.inf, -torch.inf]), logits[:, 2, 3, :3]
        )
        return logits


def test_logits_that_are_not_finite_are_refused_as_on_the_cpu(
    make_pipeline: Callable[..., GpuPipeline],
) -> None:
    broken = Broken()
    pipeline = make_pipeline(2, serves=broken)
    on_cpu = CpuPipeline(
        lambda pixels: broken(torch.from_numpy(pixels)).numpy(),
        SIZE,
        7,
        Status('torch', 'cpu', FP32),
    )
    dark = Image(np.zeros((30, 41, 3), np.uint8), 'rgb8')
    pipeline.segment([noise(30, 41)])
    for backend in (pipeline, on_cpu):
        with pytest.raises(BackendError, match=r'^the network gave NaN or infinite logits$'):
            backend.segment([noise(30, 41), dark])
    check(broken, noise(30, 41), pipeline.segment([noise(30, 41)])[0])


@pytest.mark.parametrize(
    ('failure', 'message'),
    [
        (RuntimeError('an odd argument\nsecond line'), 'cpu failed on 2 images of .*argument$'),
        (BackendError('the engine does not start'), '^the engine does not start$'),
    ],
)
def test_a_failure_costs_the_images_and_no_more(
    network: Colours, make_pipeline: Callable[..., GpuPipeline], failure: Exception, message: str
) -> None:
    pipeline = make_pipeline(2)
    images = [noise(30, 41, seed=i) for i in range(6)]
    network.failure = failure
    with pytest.raises(BackendError, match=message):
        pipeline.segment(images)
    for image, one in zip(images, pipeline.segment(images), strict=True):
        check(network, image, one)


class Limited(Colours):
    """A network on a device that has no room for more than ``room`` images at a time."""

    room = 2

    def __call__(self, pixels: Tensor) -> Tensor:
        if len(pixels) > self.room:
            msg = 'CUDA out of memory. Tried to allocate 2 GiB. Of the allocated memory 1 GiB is'
            raise torch.cuda.OutOfMemoryError(msg)
        return super().__call__(pixels)


def test_a_batch_that_finds_no_memory_is_halved(
    make_pipeline: Callable[..., GpuPipeline], caplog: pytest.LogCaptureFixture
) -> None:
    network = Limited()
    pipeline = make_pipeline(8, serves=network)
    pipeline.prepare(None)
    assert pipeline.status.batch == 2
    reason = 'cpu has no memory left for 4 images of 48x32 bgr8, network 24x16'
    assert pipeline.status.degraded.startswith(f'batches of 2 because {reason} (CUDA out of')
    assert [record.getMessage()[:34] for record in caplog.records] == [
        'serving batches of 4 instead of 8:',
        'serving batches of 2 instead of 4:',
    ]
    images = [noise(30, 41, seed=i) for i in range(3)]
    for image, one in zip(images, pipeline.segment(images), strict=True):
        check(network, image, one)
    network.room = 0
    for options in ({}, {'is_fixed': True}):
        with pytest.raises(DeviceMemoryError, match='use a smaller batch or model'):
            make_pipeline(1, serves=network, **options).segment(images)
    with pytest.raises(DeviceMemoryError):
        make_pipeline(4, serves=network, is_fixed=True).segment(images)


@pytest.mark.parametrize(('precision', 'share'), [(FP32, 0.9999), (FP16, 0.999)])
def test_labels_of_the_clip_are_those_of_the_cpu_pipeline(
    clip_frames: list[NDArray[np.uint8]], precision: str, share: float
) -> None:
    path = resolve_checkpoint('tiny')
    images = [Image(frame, 'bgr8') for frame in clip_frames[: 1 if precision == FP16 else 2]]
    host = torch_backend.load(ServingRequest(path, *SHIPPED_SIZE, device='cpu'))
    graph = load_graph(path, *SHIPPED_SIZE)
    served = DeviceNetwork(graph.halve() if precision == FP16 else graph, CPU)
    pipeline = GpuPipeline(served, SHIPPED_SIZE, Status('torch', 'cpu', precision, 2))
    same = [
        np.mean(one.labels == other.labels)
        for one, other in zip(pipeline.segment(images), host.segment(images), strict=True)
    ]
    pipeline.close()
    assert np.mean(same) >= share


def test_a_network_is_copied(untrained_checkpoint: Path) -> None:
    graph = load_graph(untrained_checkpoint, 64, 64)
    before = {name: tensor.clone() for name, tensor in graph.state_dict().items()}
    place(graph, untrained_checkpoint, CPU, 'auto')
    for name, tensor in graph.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize('unfit', ['a weight', 'what it computes'])
def test_what_does_not_fit_half_precision_is_served_in_single(
    untrained_checkpoint: Path, unfit: str
) -> None:
    # its random weights make numbers that grow from layer to layer
    graph = load_graph(untrained_checkpoint, 64, 64)
    reason = 'its logits of a street are not finite: use fp32'
    if unfit == 'a weight':
        name, weight = next(
            (name, p) for name, p in graph.network.named_parameters() if p.dim() == 4
        )
        with torch.no_grad():
            weight[0] = 1e5
        reason = f'{name} holds 100000, too large for fp16: use fp32'
    network, degraded = place(graph, untrained_checkpoint, CPU, 'auto')
    assert network.precision == FP32
    assert degraded == f'fp32 instead of fp16: {reason}'
    with pytest.raises(BackendError, match=f'cannot be served in fp16, {reason}'):
        place(graph, untrained_checkpoint, CPU, FP16)
    assert place(graph, untrained_checkpoint, CPU, FP32)[1] == ''


def test_half_precision_is_served_where_it_fits() -> None:
    path = resolve_checkpoint('nano')
    network, degraded = place(load_graph(path, 64, 64), path, CPU, 'auto')
    assert (network.precision, degraded) == (FP16, '')


BLOCKED = ('numba', 'safetensors', 'yaml', 'scipy', 'lightning', 'rclpy', 'rosbags', 'tensorrt')
FEW_PACKAGES = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
import numpy as np
import torch
torch.set_num_threads(1)
from gpu_suite import figures, networks
from lemore_core.inference.backend import FP32, Status
from lemore_core.inference.gpu.network import DeviceNetwork
from lemore_core.inference.gpu.pipeline import GpuPipeline
from lemore_core.images.image import Image
size = (128, 256)
(frame,) = networks.clip_frames(1)
network = DeviceNetwork(networks.shipped('tiny', *size), torch.device('cpu'))
pipeline = GpuPipeline(network, size, Status('torch', 'cpu', FP32))
(found,) = pipeline.segment([Image(frame, 'bgr8')])
reference = networks.reference_labels(
    networks.shipped('tiny', *size, folded=False), frame, 'bgr8'
)
print(np.mean(found.labels == reference))
measured = figures.measure(torch.device('cpu'), (64, 64), 0.05, 2)
print(measured['batch 1']['frames'])
"""


def test_the_gpu_suite_needs_few_packages() -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / 'test' / 'gpu')])
    done = subprocess.run(
        [sys.executable, '-c', FEW_PACKAGES],
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    share, frames = done.stdout.split()
    assert float(share) >= 0.999
    assert int(frames) > 0
