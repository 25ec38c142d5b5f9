"""Engines built for real by TensorRT for RTX, whose builder needs no GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from onnx import NodeProto, TensorProto, helper

from lemore_core.checkpoint import ModelCard
from lemore_core.export.export import trace_onnx
from lemore_core.export.fold import ServingGraph, fold
from lemore_core.export.onnx_file import cached_export
from lemore_core.inference.backend import BackendError
from lemore_core.inference.tensorrt import builder as builder_module
from lemore_core.inference.tensorrt.builder import build, load_tensorrt, logger_of
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import variant
from lemore_core.segmenter import resolve_checkpoint
from lemore_core.taxonomy import load_taxonomy

RTX = pytest.importorskip('tensorrt_rtx', reason='pip install tensorrt-rtx-cu13')

MIB = 1 << 20


def build_for(capability: str, onnx: bytes, shape: tuple[int, int, int]) -> bytes:
    class Builder(RTX.Builder):  # type: ignore[misc, name-defined]
        def create_builder_config(self) -> Any:
            config = super().create_builder_config()
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(RTX.ComputeCapability, capability), 0)
            return config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RTX, 'Builder', Builder)
        return build(RTX, onnx, shape)


# every size, both precisions, few and many classes, the oldest and the newest capability
@pytest.mark.parametrize(
    ('size', 'dataset', 'half', 'capability'),
    [
        ('nano', 'coco_stuff', False, 'SM89'),
        ('tiny', 'ade20k', True, 'SM75'),
        ('small', 'pascal_context_59', True, 'SM120'),
        ('base', 'camvid', False, 'SM80'),
    ],
)
def test_every_network_is_built(size: str, dataset: str, half: bool, capability: str) -> None:
    taxonomy = load_taxonomy(dataset)
    config = variant(size, classes=len(taxonomy.classes), height=128, width=128)
    card = ModelCard(name=size, config=config, taxonomy=taxonomy, licence='none')
    graph = ServingGraph(card, fold(LeMoRe(config).eval(), card.std))
    model = trace_onnx(graph.halve() if half else graph, 128, 128)
    engine = build_for(capability, model.SerializeToString(), (2, 128, 128))
    assert MIB < len(engine) < 100 * MIB


@pytest.mark.parametrize(('batch', 'profiles'), [(1, []), (3, [(1, 3, 3)])])
def test_the_shipped_network_is_built_for_any_number_of_cameras(
    monkeypatch: pytest.MonkeyPatch, batch: int, profiles: list[tuple[int, ...]]
) -> None:
    content = cached_export(resolve_checkpoint('nano'), 128, 192, half=True)
    built, made = [], list[Any]()

    class Builder(RTX.Builder):  # type: ignore[misc, name-defined]
        def build_serialized_network(self, network: Any, config: Any) -> Any:
            workspace = config.get_memory_pool_limit(RTX.MemoryPoolType.WORKSPACE)
            tf32 = config.get_flag(RTX.BuilderFlag.TF32)
            built.append((tuple(network.get_output(0).shape)[1:], workspace, tf32))
            return super().build_serialized_network(network, config)

        def create_optimization_profile(self) -> Any:
            made.append(super().create_optimization_profile())
            return made[-1]

    monkeypatch.setattr(RTX, 'Builder', Builder)
    assert len(build_for('SM86', content, (batch, 128, 192))) > MIB // 2
    # only the batch is left open, memory is bounded, fp32 has no mantissa of 10 bits
    assert built == [((16, 24, 19), 512 * MIB, False)]
    shapes = [one.get_shape('pixels') for one in made]
    assert [tuple(shape[0] for shape in three) for three in shapes] == profiles


def model(*nodes: NodeProto, shape: tuple[int | str, ...] = (1, 64, 64, 3)) -> bytes:
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
        build_for('SM86', content, (1, 64, 64))
    assert '\n' not in str(failure.value)
    build_for('SM86', model(CAST), (1, 64, 64))
    assert logger_of(RTX).reason() == 'it gives no reason', 'not that of an earlier build'


def test_a_tensorrt_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        msg = 'libnvinfer.so.10: cannot open shared object file'
        raise OSError(msg)

    modules = builder_module.importlib
    monkeypatch.setattr(modules, 'import_module', broken)
    with pytest.raises(BackendError, match=r'cannot be imported \(libnvinfer.*: pip install tens'):
        load_tensorrt()
    monkeypatch.setattr(modules, 'import_module', lambda _: SimpleNamespace(__version__='8.6.1'))
    with pytest.raises(BackendError, match=r'tensorrt 8\.6\.1 is too old, 10 or newer is needed'):
        load_tensorrt()
