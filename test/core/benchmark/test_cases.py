from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lemore_core.benchmark.cases import Case, load_each, make_cases
from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.benchmark.images import at_size, read_image, synthetic_image
from lemore_core.benchmark.percentiles import Percentiles
from lemore_core.benchmark.steps import LoadedCase, steps_row
from lemore_core.image import Image
from lemore_core.inference import BackendError, Status
from lemore_core.segmentation import Segmentation, Timings
from lemore_core.segmenter import SegmenterError

SIZE = (48, 64)


class Stub:
    """A backend whose images take as long as it says."""

    status = Status('stub', 'cpu', 'fp32', degraded='it is none')

    def __init__(self, steps: Mapping[str, float]) -> None:
        self._steps = steps

    def segment(self, images: Sequence[Image]) -> list[Segmentation]:
        time.sleep(0.001)
        labels = np.zeros(SIZE, np.uint8)
        return [Segmentation(labels, labels, SIZE, Timings(1.0, self._steps)) for _ in images]

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to do."""


class DeviceStub(Stub):
    """One that times its steps on request."""

    def steps(self, images: Sequence[Image], rounds: int) -> Mapping[str, float]:
        return {'network': 1.0 * len(images), 'upload': 0.5 * rounds}


def test_every_combination_is_a_case() -> None:
    found, skipped = make_cases(
        ['nano', 'tiny'],
        [SIZE, (60, 80)],
        ['torch', 'auto'],
        precisions=['fp32', 'fp16'],
        batches=[1, 4],
    )
    assert len(found) == len(set(found)) == 32
    assert not skipped
    assert str(found[-1]) == 'tiny auto fp16, 80x60 x 4'


def test_what_is_not_installed_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('lemore_core.inference.registry._installed', lambda name: name != 'torch')
    found, skipped = make_cases(['tiny'], [SIZE], ['onnxruntime', 'torch'])
    assert [case.backend for case in found] == ['onnxruntime']
    assert [one.what for one in skipped] == ['torch']
    assert 'pip install torch' in skipped[0].reason


def test_names_that_do_not_exist_are_refused() -> None:
    with pytest.raises(BackendError, match="no backend is called 'warp'"):
        make_cases(['tiny'], [SIZE], ['warp'])
    with pytest.raises(SegmenterError, match="no model is called 'huge'"):
        make_cases(['huge'], [SIZE], ['torch'])


def test_the_network_size_is_the_segmenters(untrained_checkpoint: Path) -> None:
    case = Case(str(untrained_checkpoint), (90, 160), backend='torch', device='cpu')
    segmenter = case.load()
    assert case.request().size == segmenter.trained_size == segmenter.network_size(90, 160)
    assert case.request().size != (96, 128)
    assert Case(str(untrained_checkpoint), (90, 160), network=(64, 64)).request().size == (64, 64)


def test_cases_that_cannot_be_loaded_are_listed(untrained_checkpoint: Path) -> None:
    good = Case(str(untrained_checkpoint), SIZE, backend='torch', device='cpu')
    bad = Case(str(untrained_checkpoint), SIZE, backend='torch', device='nowhere')
    loaded, skipped = load_each([good, bad], Case.load_backend)
    assert [case for case, _ in loaded] == [good]
    assert skipped[0].what == str(bad)
    assert "device 'nowhere'" in skipped[0].reason
    with pytest.raises(BenchmarkError, match=r"nothing can be measured: .*'nowhere'"):
        load_each([bad], Case.load_backend)


def test_steps_of_a_batch_are_summed(untrained_checkpoint: Path) -> None:
    case = Case(str(untrained_checkpoint), SIZE, batch=3)
    images = [at_size(synthetic_image(*SIZE), *SIZE)] * 3
    loaded = LoadedCase(case, Stub({'network': 2.0, 'decode': 0.5}), images)
    assert loaded() == {'network': 6.0, 'decode': 1.5}
    calls = [(total, {'network': 6.0, 'decode': 1.5}) for total in (8.0, 9.0, 100.0)]
    row = steps_row(loaded, calls, None)
    assert row.total_ms.median == 9.0
    assert row.over_network == 1.5
    assert row.images_per_second == pytest.approx(3000 / 9)
    assert (row.peak_memory_mb, row.peak_gpu_memory_mb) == (None, None)
    assert [line['step'] for line in row.lines()] == ['network', 'decode', 'whole']
    assert row.lines()[2]['case'].strip() == 'it is none'


def test_a_backend_that_times_its_own_steps_is_asked(untrained_checkpoint: Path) -> None:
    case = Case(str(untrained_checkpoint), SIZE, batch=2)
    images = [at_size(synthetic_image(*SIZE), *SIZE)] * 2
    calls = list(itertools.repeat((4.0, dict[str, float]()), 5))
    row = steps_row(LoadedCase(case, DeviceStub({}), images), calls, None)
    assert row.steps_ms == {'upload': Percentiles(2.5), 'network': Percentiles(2.0)}
    assert row.over_network == 2.0
    silent = steps_row(LoadedCase(case, Stub({}), images), calls, None)
    assert silent.steps_ms == {}
    assert silent.over_network is None


def test_images_are_read_and_resized(tmp_path: Path) -> None:
    assert read_image(None).shape == (540, 960, 3)
    image = at_size(read_image(None), 48, 64)
    assert image.pixels.shape == (48, 64, 3)
    assert image.encoding == 'bgr8'
    text = tmp_path / 'text.png'
    text.write_text('no image')
    for path in (text, tmp_path / 'gone.png'):
        with pytest.raises(BenchmarkError, match='is no readable image or video'):
            read_image(path)


def test_without_the_clip_an_image_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr('lemore_core.benchmark.images.CLIP', tmp_path / 'gone.mp4')
    assert read_image(None).shape == (480, 640, 3)
