from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from lemore_core.checkpoint import CheckpointError
from lemore_core.common import memory as processors
from lemore_core.export import STREET
from lemore_core.export.export import export_onnx
from lemore_core.images.image import Image
from lemore_core.inference import onnxruntime_backend as onnx_backend
from lemore_core.inference import registry
from lemore_core.inference.backend import BackendError, ServingRequest
from lemore_core.inference.onnxruntime_backend import OnnxNetwork, choose_threads, load
from lemore_core.segmenter import resolve_checkpoint

PIXELS = np.random.default_rng(0).integers(0, 256, (1, 64, 128, 3), np.uint8)


@pytest.fixture(scope='module')
def content() -> bytes:
    return export_onnx(resolve_checkpoint('nano'), 64, 128)


@pytest.fixture(autouse=True)
def _nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_backend, 'chosen_threads', {})


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of threads of every session, in the order in which they are opened."""
    threads = []
    real = onnxruntime.InferenceSession

    def session(content: bytes, options: onnxruntime.SessionOptions, **others: object) -> object:
        if not options.intra_op_num_threads:
            return real(content, options, **others)  # that reads the card
        threads.append(options.intra_op_num_threads)
        entry = options.get_session_config_entry('session.intra_op.allow_spinning')
        assert entry == '0', 'a node without images to label must burn no processor time'
        return real(content, options, **others)

    monkeypatch.setattr(onnxruntime, 'InferenceSession', session)
    return threads


@pytest.mark.parametrize(
    ('times', 'expected'),
    [
        ({1: 20.0, 2: 11.0, 4: 6.0}, 4),
        ({1: 20.0, 2: 11.0, 4: 10.5}, 2),
        ({1: 11.7, 2: 13.1}, 1),
        ({1: 10.0, 2: 9.5}, 1),
        ({1: 10.0}, 1),
    ],
)
def test_a_thread_must_be_worth_it(times: dict[int, float], expected: int) -> None:
    assert choose_threads(times) == expected


def test_only_the_first_session_of_a_process_is_measured(
    content: bytes, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[dict[int, float]] = []

    def choose(times: dict[int, float]) -> int:
        measured.append(times)
        return 2

    monkeypatch.setattr(onnx_backend, 'thread_counts', lambda: (1, 2, 3))
    monkeypatch.setattr(onnx_backend, 'choose_threads', choose)
    started = time.process_time()
    first = OnnxNetwork(content, 'first')
    # processor time: a busy machine is not the measurement's fault
    assert time.process_time() - started < 8 * onnx_backend.TRIAL_SECONDS
    assert opened == [1, 2, 3]
    second = OnnxNetwork(content, 'second')
    assert opened == [1, 2, 3, 2]
    assert OnnxNetwork(content, 'fixed', threads=1).threads == opened[-1] == 1
    assert [set(times) for times in measured] == [{1, 2, 3}]
    assert all(0 < seconds < 1 for seconds in measured[0].values())
    assert first.threads == second.threads == 2
    np.testing.assert_array_equal(first(PIXELS)[0], second(PIXELS)[0])


def test_on_a_cpu_pytorch_stays_out_of_the_process(run_python: Any) -> None:
    code = (
        'import sys, numpy as np\n'
        'from lemore_core.segmenter import Segmenter, resolve_checkpoint\n'
        'segmenter = Segmenter.load(resolve_checkpoint("nano"), live=True)\n'
        'labels = segmenter.segment(np.zeros((48, 64, 3), np.uint8)).labels\n'
        'assert labels.shape == (48, 64)\n'
        'assert segmenter.status.backend == "onnxruntime"\n'
        'assert "onnxruntime" in sys.modules\n'
        'sys.exit("torch was imported" if "torch" in sys.modules else 0)'
    )
    run_python('-c', code, CUDA_VISIBLE_DEVICES='')


def test_weights_that_are_no_numbers_are_refused(content: bytes, tmp_path: Path) -> None:
    model = onnx.load_from_string(content)
    weights = next(one for one in model.graph.initializer if one.data_type == 1 and one.dims)
    values = onnx.numpy_helper.to_array(weights).copy()
    values.flat[0] = np.nan
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    path = tmp_path / 'nano.onnx'
    onnx.save(model, path)
    with pytest.raises(CheckpointError, match=r'nano\.onnx: the weights .* hold NaN'):
        registry.load('onnxruntime', ServingRequest(path, 64, 128, device='cpu'))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'device': 'cuda:0'}, "runs on the CPU, not on device 'cuda:0': use backend"),
        ({'precision': 'fp16'}, 'slower in fp16 than in fp32 on a CPU'),
    ],
)
def test_a_gpu_and_its_precision_are_for_other_backends(
    options: dict[str, str], message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        registry.load('onnxruntime', ServingRequest(resolve_checkpoint('nano'), 64, 128, **options))


def test_several_images_are_segmented_in_turn(
    content: bytes, tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_backend, 'thread_counts', lambda: (1,))
    path = tmp_path / 'nano.onnx'
    path.write_bytes(content)
    backend = load(ServingRequest(path, 64, 128, batch=2))
    assert opened == [1], 'the file is opened once'
    assert (backend.status.batch, backend.status.precision) == (1, 'as exported')
    pixels = np.concatenate([PIXELS, 255 - PIXELS])
    together = backend.segment([Image(one) for one in pixels])
    for one, found in zip(pixels, together, strict=True):
        assert np.array_equal(backend.segment([Image(one)])[0].labels, found.labels)
    assert backend.logits(pixels).shape == (2, 8, 16, 19)


@pytest.mark.parametrize(
    ('siblings', 'usable', 'expected'),
    [
        ({0: '0-1', 1: '0-1', 2: '2-3', 3: '2-3'}, {0, 1, 2, 3}, (1, 2, 4)),
        ({0: '0', 1: '1'}, {0, 1}, (1, 2)),
        ({0: '0,4', 4: '0,4'}, {4}, (1,)),
        ({}, {0, 1, 2}, (1, 3)),  # a system that does not say
    ],
)
def test_one_thread_a_core_or_a_processor(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    siblings: dict[int, str],
    usable: set[int],
    expected: tuple[int, ...],
) -> None:
    for processor, text in siblings.items():
        folder = tmp_path / f'cpu{processor}' / 'topology'
        folder.mkdir(parents=True)
        (folder / 'thread_siblings_list').write_text(text)
    monkeypatch.setattr(processors, 'TOPOLOGY', tmp_path)
    monkeypatch.setattr(processors.os, 'sched_getaffinity', lambda _: usable, raising=False)
    monkeypatch.setattr(processors, 'CPU_MAX', tmp_path / 'cpu.max')
    assert processors.thread_counts() == expected
    for quota, most in (('max', 4), ('150000', 2)):
        processors.CPU_MAX.write_text(f'{quota} 100000\n')
        assert processors.thread_counts() == tuple(sorted({min(n, most) for n in expected}))


def test_a_load_writes_nothing_outside_our_own_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_python: Any
) -> None:
    monkeypatch.delenv('ORT_DISABLE_TELEMETRY')
    for name in ('HOME', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME', 'TMPDIR'):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    command = ['-m', 'lemore_core.cli.main', 'predict', STREET, '--model', 'nano']
    run_python(*command, '--output', tmp_path / 'out')
    kept = [path for path in tmp_path.glob('[A-Z]*/**/*') if path.is_file()]
    assert all(path.is_relative_to(tmp_path / 'XDG_CACHE_HOME' / 'lemore') for path in kept), kept


def test_a_run_that_fails_is_one_line_of_the_backend(
    content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    network = OnnxNetwork(content, 'first', threads=1)
    with pytest.raises(BackendError, match=r'^ONNX Runtime cannot run the network: .*pixels'):
        network(np.zeros((1, 7, 9, 3), np.uint8))
    with pytest.raises(
        BackendError, match=r'^ONNX Runtime cannot load it: \[.*INVALID_GRAPH.* Conw'
    ):
        OnnxNetwork(content.replace(b'Conv', b'Conw'), 'it', threads=1)
    assert not capsys.readouterr().out
