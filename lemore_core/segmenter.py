"""Segment images: the one door of node, bag tools and command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core import inference as backends
from lemore_core.checkpoint import ModelCard
from lemore_core.common.errors import SegmenterError
from lemore_core.common.files import at_home
from lemore_core.common.memory import device_memory_mb, release_memory
from lemore_core.export.onnx_file import read_model_card
from lemore_core.images.image import Image, Pixels, as_image, check_pixels, rotated, to_network
from lemore_core.inference import AUTO, Backend, ServingRequest, Status
from lemore_core.inference.backend import DeviceMemoryError, ImageKind
from lemore_core.inference.sizes import LOADING, LoadedSizes, network_size
from lemore_core.inference.tensorrt.build import BackgroundBuilds
from lemore_core.model.variants import VARIANTS
from lemore_core.segmentation import UNREFINED, Refinement, Segmentation
from lemore_core.taxonomy import Taxonomy

WEIGHTS = Path(str(resources.files('lemore_core') / 'weights'))
DATASETS = ('cityscapes', 'camvid')  # of the shipped weights; a size's default is its first

__all__ = ['Segmenter', 'SegmenterError', 'Status', 'network_size', 'resolve_checkpoint']


class Segmenter:
    """Segment images with a loaded model, on one thread; loading may happen on another."""

    def __init__(
        self,
        card: ModelCard,
        request: ServingRequest,
        fixed_size: tuple[int, int] | None,
        *,
        backend: str,
        live: bool,
        wait_for_engine: bool,
    ) -> None:
        self.card = card
        self._request, self._fixed_size = request, fixed_size
        self._backend, self._live, self._wait_for_engine = backend, live, wait_for_engine
        # of the first image of each size
        self._kinds: dict[tuple[int, int], ImageKind] = {}
        self._builds = BackgroundBuilds()
        self._sizes = LoadedSizes(self._load_size)
        self._newest: Backend | None = None
        self._newest_size = self.trained_size
        self._newest = self._sizes.get(self.trained_size)

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        *,
        backend: str = AUTO,
        device: str = AUTO,
        precision: str = AUTO,
        batch: int = 1,
        taxonomy: Taxonomy | None = None,
        network_size: tuple[int, int] | None = None,
        live: bool = False,
        wait_for_engine: bool = False,
    ) -> Segmenter:
        """Load a ``.safetensors`` checkpoint, an exported ``.onnx`` file, or a shipped size.

        ``checkpoint`` is a path, or a name for :func:`resolve_checkpoint` such as ``'tiny'``.
        ``taxonomy`` replaces the names and colours of the checkpoint's own; ``network_size``
        (height, width) fixes the size at which the network sees every image, which otherwise
        follows the image's aspect (an ONNX file has one size). For ``precision`` and ``batch``
        see :class:`~lemore_core.inference.ServingRequest`.

        ``live`` is for a camera: on a CPU, images whose size is not loaded are resized to one that
        is while another thread loads theirs, and where backend ``auto`` finds a GPU and TensorRT
        but no engine, another process builds one for the next start. ``status`` has its state;
        :meth:`close` stops it. With ``wait_for_engine`` it is built before the first image.

        Raises:
            CheckpointError: the file is missing, damaged, or not LeMoRe's, or ``taxonomy`` has
                another number of classes than the network.
            BackendError: the backend, device or precision is not available on this machine.
            SegmenterError: ``network_size`` is not the ONNX file's, or no model of that name is
                shipped.
            ConfigError: ``network_size`` is out of bounds.
        """
        path = resolve_checkpoint(str(checkpoint))
        card = read_model_card(path)
        if taxonomy is not None:
            card = dataclasses.replace(card, taxonomy=taxonomy)
        trained = (card.config.height, card.config.width)
        if path.suffix == '.onnx':
            if network_size not in (None, trained):
                msg = f'{path} was exported for {trained}, it cannot run at {network_size}'
                raise SegmenterError(msg)
            network_size = trained
        if network_size is not None:
            card = dataclasses.replace(card, config=card.config.for_size(*network_size))
        size = (card.config.height, card.config.width)
        request = ServingRequest(path, *size, device=device, precision=precision, batch=batch)
        options = {'live': live, 'wait_for_engine': wait_for_engine}
        return cls(card, request, network_size, backend=backend, **options)

    @property
    def path(self) -> Path:
        """The file that was loaded."""
        return self._request.path

    @property
    def status(self) -> Status:
        """Status of the backend of the last image size, for any thread.

        Raises:
            SegmenterError: the model is closed.
        """
        newest = self._newest
        if newest is None:
            msg = f'the model {self.path} is closed'
            raise SegmenterError(msg)
        return self._builds.status(self._newest_size, newest.status)

    @property
    def taxonomy(self) -> Taxonomy:
        """Classes of the labels."""
        return self.card.taxonomy

    @property
    def trained_size(self) -> tuple[int, int]:
        """(height, width) that the network was trained at, or that was fixed at loading."""
        return self.card.config.height, self.card.config.width

    @property
    def device_memory_mb(self) -> float | None:
        """Megabytes (10^6 bytes) that the process holds on a GPU, ``None`` on a CPU."""
        return device_memory_mb(self.status.device)

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the network's input size (height, width) for images of this size."""
        return self._fixed_size or network_size(self.trained_size, (height, width))

    def keep_sizes(self, number: int) -> None:
        """Keep at least ``number`` network sizes loaded, for images of many aspects."""
        self._sizes.kept = max(self._sizes.kept, number)

    def warm_up(self, height: int, width: int, encoding: str = 'rgb8') -> None:
        """Load the network for images of this size and encoding, and run it once."""
        size, kind = self.network_size(height, width), ImageKind(height, width, encoding)
        self._kinds.setdefault(size, kind)
        self._sizes.get(size)
        self.segment_batch([kind.black()])

    def segment(self, image: Any, encoding: str = 'rgb8') -> Segmentation:
        """Segment an image.

        ``image`` is (H, W, 3) uint8 for rgb8 and bgr8, (H, W, 4) for rgba8 and bgra8, (H, W) for
        mono8, and its rows may be padded; or it is an image of Pillow. The first image of a new
        aspect takes longer, unless ``live``.

        Raises:
            PixelError: the image does not match its encoding, or is empty.
            BackendError: the device failed; the next image may succeed.
        """
        return self.segment_batch([as_image(image, encoding)])[0]

    def segment_batch(
        self, images: Sequence[Image], refinement: Refinement = UNREFINED
    ) -> list[Segmentation]:
        """Segment images, those of one network size together where the device gains from it.

        The labels of an image with a ``rotation`` are rotated back onto its own pixels, and then
        refined: threshold, class groups, output size.

        Raises:
            PixelError: an image does not match its encoding, or is empty.
            BackendError: the device failed; the next images may succeed.
        """
        for image in images:
            check_pixels(image.pixels, image.encoding)
        upright = [one._replace(pixels=rotated(one.pixels, one.rotation)) for one in images]
        results = self._segment_upright(upright)
        return [
            refinement.apply(_rotated_back(*pair)) for pair in zip(images, results, strict=True)
        ]

    def _segment_upright(self, images: Sequence[Image]) -> list[Segmentation]:
        served = [self._served_size(image) for image in images]
        found: dict[int, Segmentation] = {}
        for size in dict.fromkeys(size for size, _ in served):
            which = [index for index, (own, _) in enumerate(served) if own == size]
            results = self._run(size, [images[index] for index in which])
            for index, result in zip(which, results, strict=True):
                reason = served[index][1]
                found[index] = dataclasses.replace(result, resized=reason) if reason else result
        return [found[index] for index in range(len(images))]

    def _served_size(self, image: Image) -> tuple[tuple[int, int], str]:
        """Return the network size for an image now, and the reason where another one is loading."""
        height, width = image.pixels.shape[:2]
        size = self.network_size(height, width)
        self._kinds.setdefault(size, ImageKind.of(image))
        if not (self._live and self.status.device == 'cpu'):
            return size, ''
        size, reason = self._sizes.nearest(size)
        if reason == LOADING:
            return size, f'preparing {width}x{height}'
        return size, f'{width}x{height} is not prepared ({reason})' if reason else ''

    def _run(self, size: tuple[int, int], images: Sequence[Image]) -> list[Segmentation]:
        self._newest_size, self._newest = size, self._sizes.get(size)
        try:
            results = self._newest.segment(images)
        except DeviceMemoryError as error:
            # freed memory and single images were tried: the next image would fail as well
            on_cpu = backends.load_on_cpu(self._request_for(size), f'the CPU because {error}')
            self._sizes.put(size, on_cpu)
            self._newest = on_cpu
            results = on_cpu.segment(images)
        if self._live and self._backend == AUTO:
            name = self._newest.status.backend
            self._builds.count(self._request_for(size), name, len(images))
        scenes = self.card.scenes
        return results if scenes is None else [scenes.judge(result) for result in results]

    def _load_size(self, size: tuple[int, int]) -> Backend:
        request, newest = self._request_for(size), self._newest
        if newest is not None and newest.status.device == 'cpu':
            # here the GPU is full, unusable or not requested
            status = newest.status
            backend = backends.load_on_cpu(request, status.degraded, status.backend)
            if request.expected is not None:
                # beside the labels of other sizes: a first run takes longer
                backend.segment([request.expected.black()])
            return backend
        return backends.load(self._backend, request, wait_for_engine=self._wait_for_engine)

    def _request_for(self, size: tuple[int, int]) -> ServingRequest:
        height, width = size
        expected = self._kinds.get(size)
        return dataclasses.replace(self._request, height=height, width=width, expected=expected)

    def close(self) -> None:
        """Stop background work and free the network."""
        self._builds.close()
        self._sizes.close()
        self._newest = None
        release_memory()

    def logits(
        self, image: Pixels, encoding: str = 'rgb8', *, network_size: tuple[int, int] | None = None
    ) -> NDArray[np.float32]:
        """Return the logits of an image, (height / 8, width / 8, classes) float32, rounded up.

        ``image`` is as for :meth:`segment`; ``network_size`` (height, width) overrides the size of
        the network's input.

        Raises:
            PixelError: the image does not match its encoding, or is empty.
            SegmenterError: an ONNX file was exported for another size.
            ConfigError: ``network_size`` is out of bounds.
        """
        check_pixels(image, encoding)
        size = network_size or self.network_size(*image.shape[:2])
        if self.path.suffix == '.onnx' and size != self._fixed_size:
            msg = f'{self.path} was exported for {self._fixed_size}, it cannot run at {size}'
            raise SegmenterError(msg)
        self.card.config.for_size(*size)  # refuses what is out of bounds
        pixels = to_network(image, encoding, *size)
        logits: NDArray[np.float32] = self._sizes.get(size).logits(pixels[None])[0]
        return logits


def resolve_checkpoint(model: str, dataset: str = '') -> Path:
    """Return the file of a shipped size for ``dataset``, or a path itself.

    Without a data set, or with a file of the user's own names, it is the size's first one.

    Raises:
        SegmenterError: no model of that name is shipped.
    """
    if model not in VARIANTS:
        if Path(model).suffix:
            return at_home(model)
        msg = f'no model is called {model!r}: give {", ".join(VARIANTS)}, or a checkpoint path'
        raise SegmenterError(msg)
    path = shipped(model, '' if Path(dataset).suffix else dataset)
    if not path.is_file():
        there = ', '.join(p.stem for p in sorted(WEIGHTS.glob('*.safetensors')))
        msg = (
            f'model {model!r} for dataset {dataset or DATASETS[0]!r} is not shipped (there is: '
            f'{there}): give the path of a checkpoint instead'
        )
        raise SegmenterError(msg)
    return path


def shipped(model: str, dataset: str = '') -> Path:
    """Return the path of the weights of a size; not every size is shipped for every data set."""
    paths = [
        WEIGHTS / f'lemore_{model}_{name}.safetensors'
        for name in (dataset and [dataset]) or DATASETS
    ]
    return next((path for path in paths if path.is_file()), paths[0])


def _rotated_back(image: Image, result: Segmentation) -> Segmentation:
    if not image.rotation:
        return result
    back, (height, width) = 360 - image.rotation, result.network_size
    return dataclasses.replace(
        result,
        labels=rotated(result.labels, back),
        confidence=rotated(result.confidence, back),
        network_size=(height, width) if back == 180 else (width, height),
    )
