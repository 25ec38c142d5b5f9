from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lemore_core.checkpoint import CheckpointError
from lemore_core.export.export import export_onnx
from lemore_core.inference.backend import BackendError, ServingRequest
from lemore_core.inference.tensorrt.graph import engine_graph
from lemore_core.segmenter import resolve_checkpoint

Pixels = NDArray[np.uint8]
SIZE = (192, 320)


def run(content: bytes, pixels: Pixels) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    (logits,) = session.run(['logits'], {'pixels': pixels})
    return np.asarray(logits)


@pytest.fixture(scope='module')
def pixels(clip_frames: list[Pixels]) -> Pixels:
    """Three frames, (3, 192, 320, 3) uint8 RGB."""
    height, width = SIZE
    small = [cv2.resize(frame, (width, height))[..., ::-1] for frame in clip_frames[:3]]
    return np.stack(small)


@pytest.fixture(scope='module')
def reference(pixels: Pixels) -> NDArray[np.float32]:
    return run(export_onnx(resolve_checkpoint('tiny'), *SIZE), pixels)


def test_single_precision_is_the_exported_graph(
    pixels: Pixels, reference: NDArray[np.float32]
) -> None:
    request = ServingRequest(resolve_checkpoint('tiny'), *SIZE, precision='fp32', batch=3)
    logits = run(engine_graph(request), pixels)
    assert logits.dtype == np.float32
    assert np.abs(logits - reference).max() < 1e-3


def test_half_precision_labels_as_single_precision_does(
    pixels: Pixels, reference: NDArray[np.float32]
) -> None:
    request = ServingRequest(resolve_checkpoint('tiny'), *SIZE, precision='fp16', batch=3)
    content = engine_graph(request)
    logits = run(content, pixels)
    assert (logits.shape, logits.dtype) == (reference.shape, np.float32)
    assert 0 < np.abs(logits - reference).max() < 0.02 * np.abs(reference).max()
    assert (logits.argmax(-1) == reference.argmax(-1)).mean() >= 0.995
    assert len(np.unique(reference.argmax(-1))) > 2, 'one label everywhere would prove nothing'


def test_half_precision_is_half_inside_and_not_at_the_edges() -> None:
    request = ServingRequest(resolve_checkpoint('nano'), 128, 128)
    assert request.gpu_precision == 'fp16'
    content = engine_graph(request)
    model = onnx.load_from_string(content)
    (source,), (sink,) = model.graph.input, model.graph.output
    assert source.type.tensor_type.elem_type == TensorProto.UINT8
    assert sink.type.tensor_type.elem_type == TensorProto.FLOAT
    # the mean is taken from the pixels before that
    mean = [1, 3, 1, 1]
    weights = [t for t in model.graph.initializer if len(t.dims) == 4 and t.dims != mean]
    assert len(weights) > 30
    assert {t.data_type for t in weights} == {TensorProto.FLOAT16}
    first = next(node for node in model.graph.node if 'pixels' in node.input)
    assert first.op_type == 'Cast', 'TensorRT transposes no uint8'
    assert engine_graph(request) == content, 'the cache would never find its engine'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'precision': 'int8'}, "precision is 'int8', it must be one of auto, fp32, fp16"),
        ({'precision': ''}, "precision is ''"),
        ({'batch': 0}, 'batch is 0, it must be from 1 to 64'),
        ({'batch': 65}, 'batch is 65'),
        ({'path': Path('a.onnx'), 'precision': 'fp16'}, 'a.onnx is served in the precision'),
    ],
)
def test_what_cannot_be_requested_is_named(options: dict[str, object], message: str) -> None:
    values = {'path': Path('a.safetensors'), 'height': 128, 'width': 128, **options}
    with pytest.raises(BackendError, match=message):
        ServingRequest(**values)  # type: ignore[arg-type]


def test_an_exported_file_is_taken_as_it_is(untrained_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / 'model.onnx'
    path.write_bytes(export_onnx(untrained_checkpoint, 96, 128))
    request = ServingRequest(path, 96, 128)
    assert request.gpu_precision == 'as exported'
    assert engine_graph(request) == path.read_bytes()


def test_an_onnx_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'other.onnx'
    port = [helper.make_tensor_value_info('x', TensorProto.FLOAT, [1])]
    graph = helper.make_graph([], 'other', port, port)
    opsets = [helper.make_opsetid('', 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    with pytest.raises(CheckpointError, match=r'other\.onnx does not describe itself'):
        engine_graph(ServingRequest(path, 2, 2))
