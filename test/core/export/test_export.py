from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from lemore_core import checkpoint
from lemore_core.checkpoint import CheckpointError
from lemore_core.export import ExportError, PrecisionError
from lemore_core.export.export import check_export, export_onnx, trace_onnx
from lemore_core.export.fold import ServingGraph, load_graph
from lemore_core.export.onnx_file import read_model_card
from lemore_core.segmenter import resolve_checkpoint

NANO = resolve_checkpoint('nano')


@pytest.fixture(scope='module')
def exported() -> bytes:
    return export_onnx(NANO, 64, 128)


@pytest.fixture
def graph() -> ServingGraph:
    return load_graph(NANO, 64, 128)


def bias(graph: ServingGraph) -> Tensor:
    return graph.network.get_parameter('head.classifier.bias')


def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (64, 128, 3), np.uint8)


def test_an_exported_file_is_folded_and_keeps_its_form(exported: bytes) -> None:
    model = onnx.load_from_string(exported)
    (opset,) = model.opset_import
    assert opset.version == 17
    ports = [(p.name, p.type.tensor_type) for p in (*model.graph.input, *model.graph.output)]
    sides = [(name, [d.dim_param or d.dim_value for d in t.shape.dim]) for name, t in ports]
    outputs = [('logits', ['batch', 8, 16, 19]), ('descriptor', ['batch', 240])]
    assert sides == [('pixels', ['batch', 64, 128, 3]), *outputs]
    kinds = [onnx.TensorProto.UINT8, *2 * [onnx.TensorProto.FLOAT]]
    assert [t.elem_type for _, t in ports] == kinds
    operators = Counter(node.op_type for node in model.graph.node)
    assert not operators.keys() & {'BatchNormalization', 'Div', 'GlobalMaxPool'}
    assert operators['Softmax'] == 1, 'nano has one bottleneck block, whose nine maps are stacked'
    assert operators['Resize'] == 6, 'four gates and the two coarse scales; no injected feature'


def test_an_export_is_compared_with_pytorch(exported: bytes, graph: ServingGraph) -> None:
    check_export(graph, exported, image()[None])
    with torch.no_grad():
        reach = np.ptp(graph(torch.from_numpy(image())[None])[0].numpy())
        bias(graph)[3] += 0.05 * float(reach)
    with pytest.raises(ExportError, match=r'differs from PyTorch by 0\.0[45]\d* of the range'):
        check_export(graph, exported, image()[None])
    with torch.no_grad():
        bias(graph)[0] = torch.nan
    with pytest.raises(PrecisionError, match=r'by nan .*does not fit fp16, use fp32'):
        check_export(graph, exported, image()[None], half=True)


def run(content: bytes, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    return np.asarray(session.run(['logits'], {'pixels': pixels})[0])


def test_a_batch_is_segmented_as_its_images_are(exported: bytes) -> None:
    pair = np.stack([image(), 255 - image()])
    alone = [run(exported, each[None]) for each in pair]
    np.testing.assert_allclose(run(exported, pair), np.concatenate(alone), atol=1e-4)


def test_an_old_torch_has_one_exporter(
    graph: ServingGraph, exported: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.onnx.export

    # torch 2.3 knows no argument dynamo, https://docs.pytorch.org/docs/2.3/onnx_torchscript.html
    def export(*args: Any, **options: Any) -> None:
        real(*args, **options, dynamo=False)

    monkeypatch.setattr(torch.onnx, 'export', export)
    assert trace_onnx(graph, 64, 128).graph == onnx.load_from_string(exported).graph


@pytest.fixture(scope='module')
def halved() -> bytes:
    return export_onnx(NANO, 192, 320, half=True)


def test_half_precision_labels_as_single_precision_does(
    halved: bytes, clip_frames: list[np.ndarray]
) -> None:
    frames = [cv2.resize(frame, (320, 192))[..., ::-1] for frame in clip_frames[:3]]
    single = export_onnx(NANO, 192, 320)
    logits, expected = (run(content, np.stack(frames)) for content in (halved, single))
    assert (logits.shape, logits.dtype) == (expected.shape, np.float32)
    assert 0 < np.abs(logits - expected).max() < 0.02 * np.abs(expected).max()
    assert (logits.argmax(-1) == expected.argmax(-1)).mean() >= 0.995
    assert len(np.unique(expected.argmax(-1))) > 2, 'one label everywhere would prove nothing'


def test_half_precision_is_half_inside_and_not_at_the_edges(halved: bytes) -> None:
    model = onnx.load_from_string(halved)
    (source,) = model.graph.input
    assert source.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    kinds = [sink.type.tensor_type.elem_type for sink in model.graph.output]
    assert kinds == 2 * [onnx.TensorProto.FLOAT]
    # the mean is taken from the pixels before that
    mean = [1, 3, 1, 1]
    weights = [t for t in model.graph.initializer if len(t.dims) == 4 and t.dims != mean]
    assert len(weights) > 30
    assert {t.data_type for t in weights} == {onnx.TensorProto.FLOAT16}
    first = next(node for node in model.graph.node if 'pixels' in node.input)
    assert first.op_type == 'Cast', 'TensorRT transposes no uint8'


def test_numbers_beyond_half_precision_are_refused(graph: ServingGraph) -> None:
    with torch.no_grad():
        bias(graph)[:2] = torch.tensor([-torch.inf, 65504.0])  # ruled out is no overflow
        assert graph.halve().is_half
        bias(graph.float())[1] = 70000.0
    with pytest.raises(PrecisionError, match=r'classifier\.bias holds 70000, too large for fp16'):
        graph.halve()


def test_a_file_that_fails_the_check_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lemore: Any
) -> None:
    monkeypatch.setattr('lemore_core.export.export.LARGEST_DIFFERENCE', -1.0)
    size = ['--height', '64', '--width', '64']
    assert lemore('export', '--model', 'nano', '-o', tmp_path / 'out.onnx', *size).fails(
        '-1 is allowed'
    )
    assert list(tmp_path.iterdir()) == []


def test_the_card_goes_with_the_file(
    exported: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'nano.onnx'
    path.write_bytes(exported)
    expected = checkpoint.read_card(NANO)
    found = read_model_card(path)
    assert found.config == expected.config.for_size(64, 128)
    for name in ('taxonomy', 'mean', 'licence'):
        assert getattr(found, name) == getattr(expected, name)
    # the same without ONNX Runtime
    monkeypatch.setattr(importlib.util, 'find_spec', lambda _: None)
    assert read_model_card(path) == found


@pytest.mark.parametrize('kept', [0, 1, 1000, -1, -700])
def test_a_file_that_breaks_off_is_no_onnx_file(exported: bytes, tmp_path: Path, kept: int) -> None:
    path = tmp_path / 'cut.onnx'
    path.write_bytes(exported[:kept])
    with pytest.raises(CheckpointError, match=r'cut\.onnx is no readable ONNX file'):
        read_model_card(path)
