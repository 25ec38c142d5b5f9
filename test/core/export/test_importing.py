"""Foreign networks of every form that is adapted, and of those that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lemore_core.checkpoint import CheckpointError
from lemore_core.export import ExportError
from lemore_core.export.importing import ImportOptions, import_onnx
from lemore_core.inference.backend import BackendError
from lemore_core.segmentation import Segmentation
from lemore_core.segmenter import Segmenter
from lemore_core.taxonomy import Taxonomy

ROOT = Path(__file__).parents[3]
CLASSES = ROOT / 'config' / 'import' / 'ade20k_32.yaml'
TEACHER = ROOT.parent / 'shared' / 'data' / 'teachers' / 'mosaic_r4_ade20k_32.onnx'
SIZE = (32, 48)
# which of red, green and blue is brightest
TABLE_ROWS = ('red', 'green', 'blue'), ((255, 0, 0), (0, 255, 0), (0, 0, 255))
TABLE = Taxonomy('primary', *TABLE_ROWS)
TWO = Taxonomy('two', ('other', 'red'), ((0, 0, 0), (255, 0, 0)))
# of the red channel, as nodes
ONE_CHANNEL = {
    'logit': [('Identity', ['red'], ['y'])],
    'sigmoid': [('Sigmoid', ['red'], ['y'])],
    'mask': [('Sigmoid', ['red'], ['s']), ('Round', ['s'], ['r']), ('Mul', ['r', '255'], ['y'])],
}
Make = Callable[..., Path]


def stripes() -> np.ndarray:
    """Vertical stripes of red, green and blue, RGB."""
    image = np.full((*SIZE, 3), 20, np.uint8)
    for index in range(3):
        image[:, 16 * index : 16 * (index + 1), index] = 230
    return image


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a network whose logits are the pixels' own channels."""

    def write(
        kind: int = TensorProto.FLOAT,
        *,
        layout: str = 'nchw',
        output: str = 'nchw',
        sides_of: tuple[int, ...] = (),
        scale: float = 1.0,
        batch: int | str = 1,
        sides: tuple[Any, Any] = SIZE,
    ) -> Path:
        shape = [batch, 3, *sides] if layout == 'nchw' else [batch, *sides, 3]
        to_planes = [0, 1, 2, 3] if layout == 'nchw' else [0, 3, 1, 2]
        nodes = [
            helper.make_node('Cast', ['x'], ['f'], to=TensorProto.FLOAT),
            helper.make_node('Transpose', ['f'], ['planes'], perm=to_planes),
            helper.make_node('Mul', ['planes', 'scale'], ['scaled']),
        ]
        if output == 'ids':
            nodes.append(helper.make_node('ArgMax', ['scaled'], ['y'], axis=1, keepdims=0))
            result = helper.make_tensor_value_info('y', TensorProto.INT64, list('abc'))
        elif output in ONE_CHANNEL:
            nodes.append(helper.make_node('Gather', ['scaled', 'first'], ['red'], axis=1))
            nodes += [helper.make_node(*node) for node in ONE_CHANNEL[output]]
            result = helper.make_tensor_value_info('y', TensorProto.FLOAT, list('abcd'))
        else:
            perm = {'nchw': [0, 1, 2, 3], 'nhwc': [0, 2, 3, 1], 'ncwh': [0, 1, 3, 2]}[output]
            nodes.append(helper.make_node('Transpose', ['scaled'], ['y'], perm=perm))
            result = helper.make_tensor_value_info('y', TensorProto.FLOAT, list('abcd'))
        if sides_of:
            nodes[-1].output[0] = 'deep'
            nodes.append(helper.make_node('Reshape', ['deep', 'sides'], ['y']))
            kind_of = result.type.tensor_type.elem_type
            result = helper.make_tensor_value_info('y', kind_of, list('abcde'[: len(sides_of)]))
        numbers = {'scale': np.float32(scale), '255': np.float32(255)}
        weights = {**numbers, 'first': [0], 'sides': sides_of}
        source = helper.make_tensor_value_info('x', kind, shape)
        return save(tmp_path / 'foreign.onnx', nodes, [source], [result], weights)

    return write


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, Any],
    *,
    ir_version: int = 8,
    **options: Any,
) -> Path:
    initializers = [numpy_helper.from_array(np.array(v), name) for name, v in weights.items()]
    graph = helper.make_graph(nodes, 'network', inputs, outputs, initializers)
    opsets = options.pop('opset_imports', [helper.make_opsetid('', 17)])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, **options)
    onnx.save(model, path)
    return path


def segmented(path: Path, table: Taxonomy = TABLE, **options: Any) -> Segmentation:
    served = path.with_name('served.onnx')
    served.write_bytes(import_onnx(path, table, stripes(), ImportOptions(**options))[0])
    segmenter = Segmenter.load(served, backend='onnxruntime', device='cpu')
    assert segmenter.taxonomy == table
    return segmenter.segment(stripes())


def stripe_labels(path: Path, **options: Any) -> list[int]:
    """Return the label of each stripe, which every row has."""
    labels = segmented(path, **options).labels[:, [8, 24, 40]]
    assert (labels == labels[0]).all()
    return labels[0].tolist()


@pytest.mark.parametrize('kind', [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8])
@pytest.mark.parametrize('layout', ['nchw', 'nhwc'])
@pytest.mark.parametrize('output', ['nchw', 'nhwc', 'ids'])
def test_every_form_is_served(make: Make, kind: int, layout: str, output: str) -> None:
    assert stripe_labels(make(kind, layout=layout, output=output)) == [0, 1, 2]


@pytest.mark.parametrize(
    ('output', 'sides_of'),
    [
        ('nchw', (3, *SIZE)),
        ('nhwc', (*SIZE, 3)),
        ('nchw', (1, 1, 3, *SIZE)),
        ('ids', SIZE),
        ('ids', (1, 1, 1, *SIZE)),
    ],
)
def test_an_output_of_any_rank_is_served(make: Make, output: str, sides_of: Any) -> None:
    assert stripe_labels(make(output=output, sides_of=sides_of)) == [0, 1, 2]


@pytest.mark.parametrize(('last', 'served'), [('QuantizeLinear', True), ('Optional', False)])
def test_quantised_logits_are_served_and_optional_ones_refused(
    make: Make, last: str, served: bool
) -> None:
    path = make()
    model = onnx.load(path)
    node = model.graph.node.add(op_type=last, input=['y'], output=['last'])
    kind = helper.make_tensor_type_proto(
        TensorProto.UINT8 if served else TensorProto.FLOAT, list('abcd')
    )
    if served:
        node.input.extend(['step', 'zero'])
        for value, name in ((np.float32(0.05), 'step'), (np.uint8(128), 'zero')):
            model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    else:
        kind = helper.make_optional_type_proto(kind)
    model.graph.output[0].CopyFrom(helper.make_value_info('last', kind))
    onnx.save(model, path)
    if served:
        assert stripe_labels(path) == [0, 1, 2]
    else:
        with pytest.raises(ExportError, match='it gives no tensor'):
            import_onnx(path, TABLE, stripes())


@pytest.mark.parametrize('layout', ['nchw', 'nhwc'])
@pytest.mark.parametrize(('channels', 'expected'), [('rgb', [1, 1, 2]), ('bgr', [0, 1, 0])])
def test_the_normalisation_is_of_rgb_and_the_order_of_the_channels_the_networks(
    make: Make, layout: str, channels: str, expected: list[int]
) -> None:
    # red never wins: its mean is beyond what a pixel can be
    scaled = {'mean': (300.0, 0.0, 0.0), 'std': (100.0,) * 3}
    path = make(layout=layout)
    assert stripe_labels(path, channels=channels, **scaled) == expected
    _, summary = import_onnx(path, TABLE, stripes(), ImportOptions(channels=channels))
    assert f'pixels {channels.upper()}' in summary


@pytest.mark.parametrize(
    ('output', 'confidence'),
    [('logit', (219, 218)), ('sigmoid', (219, 218)), ('mask', (255, 255))],
)
def test_one_channel_is_two_classes(make: Make, output: str, confidence: tuple[int, int]) -> None:
    path = make(output=output)
    assert stripe_labels(path, table=TWO) == [1, 0, 0]
    result = segmented(path, TWO)
    assert np.allclose(result.confidence[0, [8, 24]], confidence, atol=1)


FLOAT = TensorProto.FLOAT
CHANNELS = np.eye(3, dtype=np.float32)[..., None, None]


def planes(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, (1, 3, *SIZE))


@pytest.mark.parametrize(
    ('ir', 'opset', 'is_input'),
    [(1, None, True), (3, 1, True), (3, 7, True), (4, 8, False), (8, 13, True), (10, 22, False)],
)
def test_files_of_any_age_are_taken(
    tmp_path: Path, ir: int, opset: int | None, is_input: bool
) -> None:
    inputs = [planes('pixels'), helper.make_tensor_value_info('w', FLOAT, CHANNELS.shape)]
    nodes = [helper.make_node('Conv', ['pixels', 'w'], ['logits'])]
    ports = inputs if is_input else inputs[:1], [planes('logits')], {'w': CHANNELS}
    opsets = [helper.make_opsetid('', opset or 1)]
    path = save(tmp_path / 'old.onnx', nodes, *ports, ir_version=ir, opset_imports=opsets)
    model = onnx.load(path)
    if opset is None:
        model.ClearField('opset_import')
        onnx.save(model, path)
    onnx.checker.check_model(model)
    assert stripe_labels(path) == [0, 1, 2]


def test_weights_may_be_used_by_graphs_inside_and_functions_be_called_like_operators(
    tmp_path: Path,
) -> None:
    def branch(name: str) -> onnx.GraphProto:
        node = helper.make_node('Conv', ['x', 'w'], [name])
        return helper.make_graph([node], name, [], [planes(name)])

    opsets = [helper.make_opsetid('', 17), helper.make_opsetid('own', 1)]
    inner = [helper.make_node('Identity', ['a'], ['b'])]
    function = helper.make_function('own', 'Conv', ['a'], ['b'], inner, opsets[:1])
    branches = {'then_branch': branch('yes'), 'else_branch': branch('no')}
    nodes = [
        helper.make_node('Conv', ['image'], ['x'], domain='own'),
        helper.make_node('If', ['always'], ['y'], **branches),
    ]
    ports = [planes('image')], [planes('y')], {'w': CHANNELS, 'always': True}
    options = {'opset_imports': opsets, 'functions': [function]}
    path = save(tmp_path / 'nested.onnx', nodes, *ports, **options)
    onnx.checker.check_model(onnx.load(path))
    assert stripe_labels(path) == [0, 1, 2]


@pytest.mark.parametrize('output', ['nchw', 'nhwc'])
def test_probabilities_are_the_confidence(make: Make, output: str) -> None:
    path = make(output=output, scale=0.5)
    model = onnx.load(path)
    axis = 1 if output == 'nchw' else 3
    model.graph.node.append(helper.make_node('Softmax', ['y'], ['p'], axis=axis))
    of_logits = segmented(path)
    model.graph.output[0].name = 'p'
    onnx.save(model, path)
    result = segmented(path)
    assert np.array_equal(result.labels, of_logits.labels)
    assert np.allclose(result.confidence, of_logits.confidence, atol=1)
    assert f'probabilities {output.upper()}' in import_onnx(path, TABLE, stripes())[1]


def test_an_open_size_and_batch_are_fixed(make: Make) -> None:
    for form in ({'batch': 'n', 'sides': ('h', 'w')}, {'batch': -1, 'sides': (-1, -1)}):
        assert stripe_labels(make(**form), size=SIZE) == [0, 1, 2]


@pytest.mark.parametrize(('columns', 'is_said'), [(3, True), (4, False)])
def test_logits_that_may_be_of_both_layouts_are_said(
    make: Make, columns: int, is_said: bool
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, columns, 3), np.uint8)
    _, summary = import_onnx(make(sides=(4, columns)), TABLE, image)
    assert summary.endswith('may be NHWC: look at its labels of an image') == is_said


@pytest.mark.parametrize(
    ('form', 'options', 'message'),
    [
        ({'sides': ('h', 'w')}, {}, '--height and --width'),
        ({'batch': 4}, {}, r'shape \[4, 3, 32, 48\]'),
        ({'sides': (40, 48), 'layout': 'nhwc'}, {'size': SIZE}, 'takes 48x40 pixels'),
        ({'kind': TensorProto.DOUBLE}, {}, 'is DOUBLE'),
        ({'kind': TensorProto.UINT8}, {'mean': (0.0, 0.0, 0.0)}, 'leave --mean'),
        ({}, {'std': (0.0, 1.0, 1.0)}, 'std positive'),
        ({}, {'mean': (0.485, 0.456, 0.406)}, 'pixels of 0 to 1: multiply it and std by 255'),
        ({}, {'mean': (120.0,) * 3, 'std': (0.229, 0.224, 0.225)}, 'std .* to 1: multiply it by'),
        ({}, {'mean': (0.0,) * 3}, 'give both --mean and --std, or neither'),
        ({}, {'std': (255.0,) * 3}, 'give both --mean and --std, or neither'),
        ({'output': 'ncwh'}, {}, '32x48 labels for 48x32 pixels: they are transposed or'),
        ({'sides_of': (1, SIZE[0] * SIZE[1], 3)}, {}, r'no output of 3 classes.*\(1, 1536, 3\)'),
        ({}, {'logits': 'nothing'}, 'no output .nothing., it has y'),
        ({'scale': float('nan')}, {}, 'NaN or infinite'),
        ({'scale': 0.0}, {}, 'every pixel of a real image class 0 of 3'),
        ({'output': 'sigmoid'}, {}, r'one channel \(sigmoid\) is two classes'),
        ({'output': 'mask'}, {}, r'no output of 3 classes.*y float32 \(1, 1, 32, 48\)'),
    ],
)
def test_what_cannot_be_served_is_refused(
    make: Make, form: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        import_onnx(make(**form), TABLE, stripes(), ImportOptions(**options))


def test_weights_outside_the_file_are_taken_in_and_damage_is_refused(make: Make) -> None:
    path = make()
    outside = {'save_as_external_data': True, 'location': 'weights', 'size_threshold': 0}
    onnx.save(onnx.load(path), path, **outside)
    assert stripe_labels(path) == [0, 1, 2]
    for damage, message in (
        (path.with_name('weights').unlink, 'no readable ONNX file'),
        (lambda: path.write_bytes(b'\x00nonsense'), 'no readable ONNX file'),
        (path.unlink, 'No such file'),
    ):
        damage()
        with pytest.raises(ExportError, match=message):
            import_onnx(path, TABLE, stripes())


def test_a_file_without_a_card_names_the_command(make: Make) -> None:
    with pytest.raises(CheckpointError, match=r'lemore import .* --classes'):
        Segmenter.load(make())


def test_another_output_than_the_cards_is_refused(make: Make, tmp_path: Path) -> None:
    model = onnx.load_from_string(import_onnx(make(), TABLE, stripes())[0])
    properties = {entry.key: entry.value for entry in model.metadata_props}
    properties['network'] = properties['network'].replace('"classes": 3', '"classes": 2')
    properties['taxonomy'] = json.dumps(Taxonomy('two', *(v[:2] for v in TABLE_ROWS)).to_dict())
    helper.set_model_props(model, properties)
    path = tmp_path / 'other.onnx'
    onnx.save(model, path)
    with pytest.raises(BackendError, match='logits of 2 classes'):
        Segmenter.load(path, backend='onnxruntime', device='cpu')


def test_logits_that_are_not_finite_are_a_failed_frame(make: Make, tmp_path: Path) -> None:
    path = tmp_path / 'overflows.onnx'
    # finite for the image of the import, infinite for a brighter one
    scale = float(np.finfo(np.float32).max / 240)
    options = ImportOptions(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    path.write_bytes(import_onnx(make(scale=scale), TABLE, stripes() // 10, options)[0])
    segmenter = Segmenter.load(path, backend='onnxruntime', device='cpu')
    with pytest.raises(BackendError, match='NaN or infinite'):
        segmenter.segment(np.full((*SIZE, 3), 255, np.uint8))


@pytest.mark.skipif(not TEACHER.is_file(), reason='the teacher network is not here')
def test_a_real_network_is_imported_and_predicts(tmp_path: Path, lemore: Any) -> None:
    output = tmp_path / 'teacher.onnx'
    assert lemore('import', TEACHER, '--classes', CLASSES, '--output', output).status == 0
    image = cv2.imread(str(ROOT / 'lemore_core' / 'export' / 'street.jpg'))
    segmenter = Segmenter.load(output, backend='onnxruntime', device='cpu')
    result = segmenter.segment(image, 'bgr8')
    names = segmenter.taxonomy.classes
    width = result.labels.shape[1]
    assert names[result.labels[10, width // 2]] == 'sky'
    assert names[result.labels[-10, width // 2]] == 'road'


def test_familiarity_compares_with_reference_images(
    make: Make, tmp_path: Path, lemore: Any
) -> None:
    path, served, classes = make(), tmp_path / 'served.onnx', tmp_path / 'primary.yaml'
    classes.write_text(json.dumps(TABLE.to_dict()))
    for number in range(6):
        cv2.imwrite(str(tmp_path / f'drive{number % 2}_{number}.png'), stripes() // (number + 1))
    command = ['import', path, '--classes', classes, '-o', served]
    command += ['--image', tmp_path / 'drive0_0.png', '--reference', *tmp_path.glob('drive*.png')]
    done = lemore(*command)
    assert done.status == 0
    assert 'no familiarity: the network has no convolutions' in done.out
    assert Segmenter.load(served).segment(stripes()).descriptor is None
    model = onnx.load(path)
    # every eighth pixel of the planes
    model.graph.initializer.append(numpy_helper.from_array(CHANNELS, 'weight'))
    model.graph.node.append(helper.make_node('Conv', ['planes', 'weight'], ['c'], strides=[8, 8]))
    onnx.save(model, path)
    done = lemore(*command)
    assert done.status == 0
    assert 'familiarity: 6 reference images of 2 parts' in done.out
    result = Segmenter.load(served).segment(stripes())
    colors = (stripes()[::8, ::8] - np.float32([123.675, 116.28, 103.53])) / [58.395, 57.12, 57.375]
    expected = [*colors.mean((0, 1)), *colors.std((0, 1))]
    np.testing.assert_allclose(result.descriptor, expected, rtol=1e-4)
    assert result.familiarity is not None
    assert result.sureness is None
