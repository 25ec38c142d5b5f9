from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lemore_core.checkpoint import CheckpointError
from lemore_core.export.export import export_onnx
from lemore_core.export.half_precision import PrecisionError, to_half
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
    content = export_onnx(resolve_checkpoint('tiny'), *SIZE)
    return np.concatenate([run(content, image[None]) for image in pixels])


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
    weights = [t for t in model.graph.initializer if len(t.dims) == 4]
    assert len(weights) > 30
    assert {t.data_type for t in weights} == {TensorProto.FLOAT16}
    first = next(node for node in model.graph.node if 'pixels' in node.input)
    assert first.op_type == 'Cast', 'TensorRT transposes no uint8'
    assert engine_graph(request) == content, 'the cache would never find its engine'


def small_model(*weights: float) -> onnx.ModelProto:
    """Return pixels * weights, resized to twice the width."""
    nodes = [
        helper.make_node('Cast', ['pixels'], ['x'], to=TensorProto.FLOAT),
        helper.make_node('Mul', ['x', 'weights'], ['y']),
        helper.make_node('Resize', ['y', '', 'scales'], ['logits'], mode='linear'),
    ]
    constants = [
        numpy_helper.from_array(np.array(weights, np.float32), 'weights'),
        numpy_helper.from_array(np.array([1, 1, 2, 1], np.float32), 'scales'),
    ]
    graph = helper.make_graph(
        nodes,
        'small',
        [helper.make_tensor_value_info('pixels', TensorProto.UINT8, [1, 2, 2, 2])],
        [helper.make_tensor_value_info('logits', TensorProto.FLOAT, [1, 2, 4, 2])],
        constants,
    )
    opset = [helper.make_opsetid('', 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def test_half_precision_rounds_and_the_scales_of_a_resize_stay() -> None:
    model = small_model(0.1, -2.0)
    to_half(model)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types == {'weights': TensorProto.FLOAT16, 'scales': TensorProto.FLOAT}
    logits = run(model.SerializeToString(), np.full((1, 2, 2, 2), 3, np.uint8))
    assert logits.shape == (1, 2, 4, 2)
    assert logits[0, 0, 0, 0] != np.float32(0.1) * 3
    assert logits[0, 0, 0].tolist() == pytest.approx([0.3, -6.0], rel=1e-3)


def test_numbers_beyond_half_precision_are_refused() -> None:
    with pytest.raises(PrecisionError, match='weights holds 70000, too large for fp16'):
        to_half(small_model(1.0, -70000.0))
    to_half(small_model(float('-inf'), 65504.0))  # a class ruled out is no overflow


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
    onnx.save(small_model(1.0, 1.0), path)
    with pytest.raises(CheckpointError, match=r'other\.onnx does not describe itself'):
        engine_graph(ServingRequest(path, 2, 2))
