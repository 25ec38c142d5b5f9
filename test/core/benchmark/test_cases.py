from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lemore_core.benchmark.cases import Case, load_each
from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.benchmark.images import at_size, read_image
from lemore_core.benchmark.percentiles import Percentiles
from lemore_core.benchmark.steps import LoadedCase, steps_row
from lemore_core.images.image import Image
from lemore_core.inference import Status
from lemore_core.segmentation import Segmentation, Timings
from lemore_core.segmenter import Segmenter
from lemore_core.segmenter_options import SegmenterOptions

SIZE = (48, 64)
IMAGE = at_size(np.zeros((*SIZE, 3), np.uint8), *SIZE)


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


def test_the_network_size_is_the_segmenters(untrained_checkpoint: Path) -> None:
    options = SegmenterOptions(str(untrained_checkpoint), backend='torch', device='cpu')
    segmenter = Segmenter.load(untrained_checkpoint, backend='torch', device='cpu')
    size = Case(options, (90, 160)).request().size
    assert size == segmenter.network_size(90, 160) != (96, 128)
    fixed = SegmenterOptions(str(untrained_checkpoint), size=(64, 64))
    assert Case(fixed, (90, 160)).request().size == (64, 64)


def test_cases_that_cannot_be_loaded_are_listed(untrained_checkpoint: Path) -> None:
    good = Case(SegmenterOptions(str(untrained_checkpoint), backend='torch', device='cpu'), SIZE)
    bad = Case(SegmenterOptions('huge', precision='fp16', batch=4), SIZE)
    loaded, skipped = load_each([good, bad], Case.load)
    assert [case for case, _ in loaded] == [good]
    assert skipped[0].what == str(bad) == 'huge auto fp16, 64x48 x 4'
    assert "no model is called 'huge'" in skipped[0].reason
    with pytest.raises(BenchmarkError, match=r"nothing can be measured: .*'huge'"):
        load_each([bad], Case.load)


def test_steps_of_a_batch_are_summed(untrained_checkpoint: Path) -> None:
    case = Case(SegmenterOptions(str(untrained_checkpoint), batch=3), SIZE)
    loaded = LoadedCase(case, Stub({'network': 2.0, 'decode': 0.5}), [IMAGE] * 3)
    assert loaded() == {'network': 6.0, 'decode': 1.5}
    calls = [(total, {'network': 6.0, 'decode': 1.5}) for total in (8.0, 9.0, 100.0)]
    row = steps_row(loaded, calls)
    assert row.total_ms.median == 9.0
    assert row.over_network == 1.5
    assert row.images_per_second == pytest.approx(3000 / 9)
    assert [line['step'] for line in row.lines()] == ['network', 'decode', 'whole']
    assert row.lines()[2]['case'].strip() == 'it is none'


def test_a_backend_that_times_its_own_steps_is_asked(untrained_checkpoint: Path) -> None:
    case = Case(SegmenterOptions(str(untrained_checkpoint), batch=2), SIZE)
    calls = list(itertools.repeat((4.0, dict[str, float]()), 5))
    row = steps_row(LoadedCase(case, DeviceStub({}), [IMAGE] * 2), calls)
    assert row.steps_ms == {'upload': Percentiles(2.5), 'network': Percentiles(2.0)}
    assert row.over_network == 2.0
    silent = steps_row(LoadedCase(case, Stub({}), [IMAGE] * 2), calls)
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
