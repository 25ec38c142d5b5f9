"""Engines built for real, for GPUs that are not here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from lemore_core.export.cache import cached_export
from lemore_core.inference.backend import BackendError, ServingRequest
from lemore_core.inference.tensorrt.build_process import Target
from lemore_core.inference.tensorrt.builder import build, logger_of
from lemore_core.inference.tensorrt.libraries import (
    TENSORRT_RTX,
    ComputeCapability,
    load_library,
)
from lemore_core.segmenter import resolve_checkpoint

pytest.importorskip('tensorrt_rtx', reason='pip install tensorrt-rtx-cu13')

MIB = 1 << 20
RTX = load_library(TENSORRT_RTX)
AMPERE = ComputeCapability(8, 6)


def test_the_capabilities_that_can_be_named() -> None:
    assert {'7.5', '8.0', '8.6', '8.9', '12.0'} <= set(map(str, RTX.named_capabilities))
    assert ComputeCapability(9, 0) not in RTX.named_capabilities


# every size, both precisions, few and many classes, the oldest and the newest capability
BUILDS = [
    ('nano', 'coco_stuff', 'fp32', '8.9'),
    ('tiny', 'ade20k', 'fp16', '7.5'),
    ('small', 'pascal_context_59', 'fp16', '12.0'),
    ('base', 'camvid', 'fp32', '8.0'),
]


@pytest.mark.parametrize(('size', 'dataset', 'precision', 'capability'), BUILDS)
def test_every_network_is_built(
    make_checkpoint: Callable[[str, str], Path],
    size: str,
    dataset: str,
    precision: str,
    capability: str,
) -> None:
    request = ServingRequest(make_checkpoint(size, dataset), 128, 128, precision=precision)
    onnx = cached_export(request.path, *request.size, half=precision == 'fp16')
    engine = build(RTX, onnx, (1, 128, 128), ComputeCapability.parse(capability))
    assert MIB < len(engine) < 100 * MIB


def test_the_shipped_network_is_built_for_several_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    content = cached_export(resolve_checkpoint('nano'), 128, 192, half=True)
    built = []

    class Builder(RTX.api.Builder):  # type: ignore[misc, name-defined]
        def build_serialized_network(self, network: Any, config: Any) -> Any:
            built.append(tuple(network.get_output(0).shape))
            return super().build_serialized_network(network, config)

    monkeypatch.setattr(RTX.api, 'Builder', Builder)
    engine = build(RTX, content, (3, 128, 192), AMPERE)
    assert len(engine) > MIB // 2
    assert built == [(3, 16, 24, 11)], 'no shape is left open'


def model(*nodes: onnx.NodeProto, shape: tuple[int | str, ...] = (1, 64, 64, 3)) -> bytes:
    graph = helper.make_graph(
        nodes,
        'graph',
        [helper.make_tensor_value_info(nodes[0].input[0], TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info('logits', TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid('', 17), helper.make_opsetid('mine', 1)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return bytes(content)


CAST = helper.make_node('Cast', ['pixels'], ['logits'], to=TensorProto.FLOAT)
TURN = [
    helper.make_node('Transpose', ['pixels'], ['x'], name='turn', perm=[0, 3, 1, 2]),
    helper.make_node('Cast', ['x'], ['logits'], to=TensorProto.FLOAT),
]
UNKNOWN = [
    helper.make_node('Cast', ['pixels'], ['x'], to=TensorProto.FLOAT),
    helper.make_node('Frobnicate', ['x'], ['logits'], name='frob', domain='mine'),
]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (model(*TURN), r'cannot parse the network: node turn \(Transpose\): .*type UInt8'),
        (
            model(*UNKNOWN),
            r'cannot parse the network: node frob \(Frobnicate\): .*Plugin not found',
        ),
        (b'no protobuf', 'cannot parse the network: .*Failed to parse the ONNX model'),
        (model(CAST, shape=(1, 32, 64, 3)), r'shape \(1, 32, 64, 3\), not \(1, 64, 64, 3\)'),
        (
            model(helper.make_node('Cast', ['images'], ['logits'], to=TensorProto.FLOAT)),
            'maps images UINT8 to logits FLOAT, not pixels UINT8 .*no serving graph',
        ),
    ],
    ids=['uint8 inside', 'unknown operator', 'no ONNX', 'size', 'names'],
)
def test_what_cannot_be_built_is_named(content: bytes, message: str) -> None:
    with pytest.raises(BackendError, match=message) as failure:
        build(RTX, content, (1, 64, 64), AMPERE)
    assert '\n' not in str(failure.value)


def test_an_error_of_before_is_not_the_reason_of_another() -> None:
    content = model(CAST)
    with pytest.raises(BackendError, match='Transpose'):
        build(RTX, model(*TURN), (1, 64, 64), AMPERE)
    build(RTX, content, (1, 64, 64), AMPERE)
    assert 'Transpose' not in logger_of(RTX).reason()


def test_a_capability_that_is_not_supported_is_refused() -> None:
    with pytest.raises(BackendError, match=r'7\.5, 8\.0, 8\.6, 8\.9, 12\.0.*, not 9\.0'):
        build(RTX, model(CAST), (1, 64, 64), ComputeCapability(9, 0))


def test_single_precision_is_no_tf32_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = []

    class Builder(RTX.api.Builder):  # type: ignore[misc, name-defined]
        def create_builder_config(self) -> Any:
            configs.append(super().create_builder_config())
            return configs[-1]

    tf32 = RTX.api.BuilderFlag.TF32
    default = RTX.api.Builder(logger_of(RTX)).create_builder_config()
    assert default.get_flag(tf32), 'the library sets it by itself'
    monkeypatch.setattr(RTX.api, 'Builder', Builder)
    build(RTX, model(CAST), (1, 64, 64), AMPERE)
    assert [config.get_flag(tf32) for config in configs] == [False]
    workspace = RTX.api.MemoryPoolType.WORKSPACE
    assert [config.get_memory_pool_limit(workspace) for config in configs] == [512 * MIB]


def test_turing_is_refused_single_precision_before_the_export() -> None:
    with pytest.raises(BackendError, match=r'no float32.* compute capability 7\.5: .*fp16'):
        Target('7.5').library('fp32')
    assert Target('7.5').library('fp16') == RTX
