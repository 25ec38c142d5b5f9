"""Decoding against its definition: upsample in double precision, then argmax."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from lemore_core.images.image import to_network
from lemore_core.inference.cpu import decode as module
from lemore_core.inference.cpu import decode_numba as kernel
from lemore_core.inference.cpu.decode import decode, kernel_arguments, warm_up
from lemore_core.inference.cpu.decode_plain import decode_plainly

ROOT = Path(__file__).parents[4]
MARGIN = 1e-4

Array = NDArray[np.float32]
Frames = list[NDArray[np.uint8]]


@pytest.fixture(autouse=True, scope='module')
def _compiled() -> None:
    # another test may have begun it: until then the plain decoder serves, for finite logits only
    module.wait_until_compiled()


def upsampled(values: NDArray[np.floating], height: int, width: int) -> torch.Tensor:
    """Return (classes, height, width) float64."""
    planes = torch.from_numpy(values.astype(np.float64)).permute(2, 0, 1)[None]
    return functional.interpolate(planes, (height, width), mode='bilinear', align_corners=False)[0]


def softmax(logits: Array) -> NDArray[np.float64]:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def check(logits: Array, height: int, width: int) -> None:
    labels, confidence = decode(logits, height, width)
    plain = kernel_arguments(logits, height, width)
    decode_plainly(*plain)
    np.testing.assert_array_equal(plain[3:], (labels, confidence))
    classes = logits.shape[2]
    assert labels.shape == confidence.shape == (height, width)
    assert labels.dtype == (np.uint8 if classes <= 255 else np.uint16)
    assert confidence.dtype == np.uint8

    full = upsampled(logits, height, width)
    first, second = full.topk(min(2, classes), dim=0).values[[0, -1]]
    clear = ((first - second) > MARGIN).numpy()
    np.testing.assert_array_equal(labels[clear], full.argmax(0).numpy()[clear])

    ids = torch.from_numpy(labels.astype(np.int64))
    # where two classes are too close to call, either is fine, so is its logit
    assert (first - full.gather(0, ids[None])[0]).max() <= MARGIN
    share = upsampled(softmax(logits), height, width).gather(0, ids[None])[0].numpy()
    assert np.abs(confidence - 255 * share).max() <= 0.51


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize('size', [None, (720, 1280), (333, 517), (31, 40)])
def test_the_labels_of_a_network_on_a_drive(
    clip_frames: Frames, size: tuple[int, int] | None
) -> None:
    path = ROOT / 'lemore_core' / 'weights' / 'lemore_nano_camvid_480x360.onnx'
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    for frame in clip_frames[:3]:
        pixels = to_network(frame, 'bgr8', 360, 480)[None]
        logits = session.run(['logits'], {'pixels': pixels})[0][0]
        check(logits, *(size or frame.shape[:2]))


@pytest.mark.parametrize('classes', [1, 2, 255, 256])
def test_noise(classes: int) -> None:
    check(noise(9, 11, classes), 72, 88)


@pytest.mark.parametrize('seed', range(40))
def test_sizes(seed: int) -> None:
    random = np.random.default_rng(seed)
    h, w = random.integers(1, 14, 2)  # one row or column now and then
    height, width = random.integers(1, 150, 2)
    classes = int(random.integers(2, 120 if seed % 8 == 1 else 30))
    scale = np.float32(random.choice([0.1, 1, 10, 600]))
    logits = noise(h, w, classes, seed=seed)
    if seed % 2:
        logits = cv2.GaussianBlur(logits, (0, 0), 2).reshape(logits.shape)
    check(np.ascontiguousarray(logits * scale), int(height), int(width))


def test_the_lowest_class_wins_a_tie() -> None:
    labels, confidence = decode(np.full((4, 5, 4), 7, np.float32), 32, 40)
    assert not labels.any()
    assert np.unique(confidence).tolist() == [64]  # 255 / 4 rounded

    logits = np.zeros((4, 5, 6), np.float32)
    logits[..., [2, 4]] = 3
    logits[::2, ::2, 5] = 3
    assert np.unique(decode(logits, 32, 40)[0]).tolist() == [2]


def test_confidence_is_low_on_boundaries() -> None:
    logits = np.zeros((2, 2, 2), np.float32)
    logits[:, 0, 0] = logits[:, 1, 1] = 20
    labels, confidence = decode(logits, 16, 16)
    assert labels[0].tolist() == [0] * 8 + [1] * 8
    assert confidence[:, 0].tolist() == [255] * 16
    assert np.all(np.diff(confidence[0, :8].astype(int)) <= 0)
    assert 128 <= confidence[0, 7] <= 143


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(('share', 'classes'), [(0.01, 3), (0.5, 300), (1.0, 3)])
def test_non_finite_logits_stay_in_range(value: float, share: float, classes: int) -> None:
    logits = noise(10, 12, classes)
    logits[np.random.default_rng(1).random(logits.shape) < share] = value
    for height, width in ((80, 96), (77, 50), (4, 3)):
        labels, _ = decode(logits, height, width)
        assert labels.max() < classes


def test_no_input_compiles_a_second_kernel() -> None:
    warm_up()
    compiled = set(kernel.decode_kernel.signatures)
    logits = noise(5, 5, 7)
    logits.flags.writeable = False
    decode(logits, 40, 40)
    decode(noise(1, 1, 2), 1, 1)
    decode(noise(6, 5, 7)[1:], np.int64(3), np.int32(9))
    decode(noise(3, 4, 7).view(np.memmap), 3, 9)
    assert set(kernel.decode_kernel.signatures) == compiled


def test_threads_do_not_share_scratch() -> None:
    inputs = [noise(12, 12, 9, seed=seed) for seed in range(8)]
    before = [logits.copy() for logits in inputs]
    alone = [decode(logits, 96, 96) for logits in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda logits: decode(logits, 96, 96), inputs * 4))
    np.testing.assert_array_equal(together, alone * 4)
    np.testing.assert_array_equal(inputs, before)
    assert inputs[0].flags.writeable


def test_compiles_without_a_place_for_a_cache() -> None:
    # of no file, hence without a folder beside it
    assert kernel.entry(eval('lambda x: 2 * x'))(21) == 42


# a machine on which nothing was compiled yet
FIRST_START = """
import numpy as np
from lemore_core.inference.backend import Status
from lemore_core.inference.cpu.decode import decode, decode_kernel, wait_until_compiled
from lemore_core.inference.cpu.pipeline import CpuPipeline
logits = np.random.default_rng(0).standard_normal((9, 11, 7)).astype(np.float32)
pipeline = CpuPipeline(len, (72, 88), 7, Status('of a test', 'cpu', 'fp32'))
early = decode(logits, 72, 88)
assert not decode_kernel.signatures, 'the labels waited for the compiler'
assert pipeline.status.preparing == 'compiling the decoder'
wait_until_compiled()
assert pipeline.status.preparing == ''
late = decode(logits, 72, 88)
assert len(decode_kernel.signatures) == 1
np.testing.assert_array_equal(early, late)
"""


def test_labels_do_not_wait_for_the_compiler(tmp_path: Path, run_python: Any) -> None:
    run_python('-c', FIRST_START, NUMBA_CACHE_DIR=str(tmp_path))
    assert list(tmp_path.rglob('*.nbi')), 'the next start finds it compiled'


def test_the_compiled_decoder_is_kept_only_where_nobody_else_writes(
    tmp_path: Path, run_python: Any
) -> None:
    module = 'lemore_core.inference.cpu.decode_numba'
    source = f'import {module} as it\nprint(it.decode_kernel.stats.cache_path)'

    def cache() -> str:
        return str(run_python('-c', source, NUMBA_CACHE_DIR=str(tmp_path)).strip())

    folder = Path(cache())
    assert folder.parent == tmp_path
    for path in (folder, folder / 'decode_numba.decode_kernel.nbi'):
        path.touch()
        path.chmod(path.stat().st_mode | 0o022)
        assert cache() == 'None', 'what others may have written would be unpickled'
        path.chmod(path.stat().st_mode & ~0o022)
    assert cache() == str(folder)
