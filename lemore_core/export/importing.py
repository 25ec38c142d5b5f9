"""Adapt any segmentation network in ONNX to be served like LeMoRe's own exports.

The foreign graph gets the input ``pixels`` (1, height, width, 3) uint8 RGB and the output
``logits`` (1, h, w, classes) float32. The adaptation is ONNX as well, so no code that serves,
decodes or measures depends on a network's origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lemore_core.checkpoint import RGB, ModelCard
from lemore_core.common.errors import refusing
from lemore_core.common.files import read_regular
from lemore_core.export import ExportError
from lemore_core.export.session import open_session
from lemore_core.model.imported import ImportedConfig
from lemore_core.taxonomy import Taxonomy

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

Layout = Literal['auto', 'nhwc', 'nchw']
Channels = Literal['rgb', 'bgr']
# an operator, its constants by name, its attributes
Step = tuple[str, dict[str, NDArray[Any]], dict[str, Any]]
CLASS_IDS = 'class ids'
CERTAIN = 20.0  # logit of a class id
# two classes in one channel: the value between them, factor and summand that make it two channels
ONE_CHANNEL = {
    'one logit': (0.0, (0, 1), (0, 0)),
    'one probability': (0.5, (-1, 1), (1, 0)),  # the softmax of the logarithms
    'one mask of 0 and 255': (127.5, (0, 2 * CERTAIN / 255), (0, -CERTAIN)),
}
LOGIT, PROBABILITY, MASK = ONE_CHANNEL
# the axis of the classes in every form of scores
FORMS = {'logits NCHW': 1, 'logits NHWC': 3, 'probabilities NCHW': 1, 'probabilities NHWC': 3}
PREFIX = 'imported/'  # keeps the foreign graph's names apart from those added
LEAST = 1e-9  # probability that has a logarithm
MOST_SKEW = 1.5  # of the labels' aspect ratio: valid convolutions cut the sides
# the first operator sets in which those added here exist, and one that has them all
OLDEST_OPSET, OPSET = 9, 13
OLDEST_IR = 4  # weights need not be inputs


@dataclass(frozen=True)
class ImportOptions:
    """Input and output of a foreign network.

    ``mean`` and ``std`` normalise values of 0..255 for a float input, in the order red, green, blue
    whatever ``channels``, ImageNet's by default. ``channels`` is the order that the network takes.
    ``size`` (height, width) is for an input of any size. ``logits`` names one of several outputs.
    """

    layout: Layout = 'auto'
    channels: Channels = 'rgb'
    mean: RGB | None = None
    std: RGB | None = None
    size: tuple[int, int] | None = None
    logits: str | None = None


class _Input(NamedTuple):
    """The foreign input; ``mean`` and ``std`` are None for uint8."""

    name: str
    elem_type: int
    channels: str
    layout: str
    height: int
    width: int
    mean: RGB | None
    std: RGB | None


class _Output(NamedTuple):
    """The foreign output."""

    name: str
    form: str
    height: int
    width: int
    is_plain: bool  # one image of four axes, which may be of any size

    def __str__(self) -> str:
        return f'{self.name}: {self.form}'


def import_onnx(
    path: Path,
    taxonomy: Taxonomy,
    image: NDArray[np.uint8],
    options: ImportOptions | None = None,
    *,
    licence: str = 'unknown: ask who made the network',
) -> tuple[bytes, str]:
    """Adapt a foreign ONNX file, and try it on ``image`` (H, W, 3) uint8 RGB of any size.

    Returns the content of the adapted file, and a summary of its input and output.

    Raises:
        ExportError: the file is missing, damaged or no segmentation network; types, ranks
            or sizes of its input or output are unsupported; its number of classes is not the
            taxonomy's; or it gives NaN or a single class for the image.
    """
    from onnx import checker, helper

    options, classes = options or ImportOptions(), len(taxonomy.classes)
    with refusing(f'{path} cannot be adapted, export it anew', ExportError):
        model = _read(path)
        source = _find_input(path, model, options)
        _add_input(model, source)
        outputs = _run(path, model, source, image)
        output = _find_output(path, outputs, options.logits, classes, source)
        _add_output(model, output, classes)
        checker.check_model(model)
    name, order = source.name, source.channels.upper()
    card = ModelCard(
        name=path.stem,
        config=ImportedConfig(classes, source.height, source.width),
        taxonomy=taxonomy,
        licence=licence,
        mean=source.mean or (0.0, 0.0, 0.0),
        std=source.std or (1.0, 1.0, 1.0),
        training={'imported': path.name, 'input': f'{name}, {order}', 'output': str(output)},
    )
    helper.set_model_props(model, card.to_metadata())
    scaled = 'unchanged' if source.mean is None else f'less {source.mean}, over {source.std}'
    summary = (
        f'input {name}: {source.width}x{source.height} {source.layout.upper()}, pixels {order}, '
        f'{scaled}; output {output}'
    )
    if output.form in ONE_CHANNEL:
        summary += f': {taxonomy.classes[0]!r} below, {taxonomy.classes[1]!r} above'
    elif 'NCHW' in output.form and output.width == classes:
        summary += ', which by its sides may be NHWC: look at its labels of an image'
    return bytes(model.SerializeToString()), summary


def _require(fits: object, msg: str) -> None:
    if not fits:
        raise ExportError(msg)


def _read(path: Path) -> ModelProto:
    """Return a model whose weights are no inputs, and whose names are apart from those added."""
    import onnx
    from onnx import version_converter

    with refusing(f'{path} is no readable ONNX file', ExportError):
        model = onnx.load_model_from_string(read_regular(path))
        onnx.load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
    versions = [one.version for one in model.opset_import if one.domain in ('', 'ai.onnx')]
    if not versions:
        # files older than operator sets, or of others' operators alone
        versions = [OPSET if model.opset_import else 1]
        model.opset_import.add(version=versions[0])
        model.ir_version = max(model.ir_version, OLDEST_IR - 1)
    if versions[0] < OLDEST_OPSET:
        model = version_converter.convert_version(model, OPSET)
    graph = model.graph
    weights = {one.name for one in graph.initializer}
    weights |= {one.values.name for one in graph.sparse_initializer}
    inputs = [entry for entry in graph.input if entry.name not in weights]
    del graph.input[:], graph.value_info[:], graph.quantization_annotation[:]
    graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, OLDEST_IR)
    _prefix_names(graph)
    return model


def _prefix_names(graph: GraphProto) -> None:
    # onnx.compose misses weights that the graphs inside of nodes use
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [name and PREFIX + name for name in names]
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField('g') else attribute.graphs
            for one in inner:
                _prefix_names(one)
    sparse = [one.values for one in graph.sparse_initializer]
    for entry in (*graph.input, *graph.output, *graph.value_info, *graph.initializer, *sparse):
        entry.name = PREFIX + entry.name


def _find_input(path: Path, model: ModelProto, options: ImportOptions) -> _Input:
    from onnx import TensorProto

    inputs = model.graph.input
    names = ', '.join(entry.name.removeprefix(PREFIX) for entry in inputs)
    has_one = f'{path} has the inputs {names or "none"}: a network of one image is needed'
    _require(len(inputs) == 1, has_one)
    tensor, where = inputs[0].type.tensor_type, f'{path}: input {names}'
    kind = tensor.elem_type
    _require(
        kind in (TensorProto.UINT8, TensorProto.FLOAT, TensorProto.FLOAT16),
        f'{where} is {TensorProto.DataType.Name(kind)}, it must be uint8, float or float16',
    )
    shape = _image_shape(where, [max(0, dim.dim_value) for dim in tensor.shape.dim], options)
    mean, std = options.mean, options.std
    if kind == TensorProto.UINT8:
        is_unscaled = (mean, std) == (None, None)
        _require(is_unscaled, f'{path} takes unscaled uint8 pixels: leave --mean and --std out')
    else:
        mean, std = mean or ModelCard.mean, std or ModelCard.std
        is_valid = all(np.isfinite([*mean, *std])) and min(std) > 0
        _require(is_valid, f'mean {mean} and std {std} must be finite, std positive')
        of_ones = 'is of pixels of 0 to 1: multiply it'
        _require(not 0 < max(mean) <= 1, f'mean {mean} {of_ones} and std by 255')
        _require(min(std) >= 1, f'std {std} {of_ones} by 255')
        _require(bool(options.mean) == bool(options.std), 'give both --mean and --std, or neither')
    return _Input(names, kind, options.channels, *shape, mean, std)


def _image_shape(where: str, sides: list[int], options: ImportOptions) -> tuple[str, int, int]:
    """Return layout, height and width of an input; open sides are 0."""
    images = '(1, height, width, 3) or (1, 3, height, width)'
    is_image = len(sides) == 4 and sides[0] in (0, 1)
    _require(is_image, f'{where} has the shape {sides}, an image is {images}: export it so')
    layout: str = options.layout
    if layout == 'auto':
        layout = 'nhwc' if sides[3] == 3 and sides[1] != 3 else 'nchw'
    channels, *found = sides[3:] + sides[1:3] if layout == 'nhwc' else sides[1:]
    _require(channels in (0, 3), f'{where} has {channels} channels in {layout}, an image has 3')
    height, width = options.size or found
    fits = found[0] in (0, height) and found[1] in (0, width)
    _require(fits, f'{where} takes {found[1]}x{found[0]} pixels, not {width}x{height}')
    remedy = 'choose one with --height and --width, most take multiples of 32'
    _require(height and width, f'{where} takes images of any size: {remedy}')
    return layout, height, width


def _add_input(model: ModelProto, source: _Input) -> None:
    """Give a graph the input ``pixels``, (1, height, width, 3) uint8 RGB."""
    from onnx import TensorProto, helper

    steps: list[Step] = []
    if source.mean is not None:
        steps += [
            ('Cast', {}, {'to': TensorProto.FLOAT}),
            ('Sub', {'mean': np.asarray(source.mean, np.float32)}, {}),
            ('Div', {'std': np.asarray(source.std, np.float32)}, {}),
            ('Cast', {}, {'to': source.elem_type}),
        ]
    if source.channels == 'bgr':
        steps.append(('Gather', {'order': np.array([2, 1, 0])}, {'axis': 3}))
    if source.layout == 'nchw':
        steps.append(('Transpose', {}, {'perm': [0, 3, 1, 2]}))
    graph, shape = model.graph, [1, source.height, source.width, 3]
    foreign = list(graph.node)
    del graph.node[:], graph.input[:]
    _add_steps(model, 'pixels', steps or [('Identity', {}, {})], PREFIX + source.name)
    graph.node.extend(foreign)
    graph.input.append(helper.make_tensor_value_info('pixels', TensorProto.UINT8, shape))


def _run(
    path: Path, model: ModelProto, source: _Input, image: NDArray[np.uint8]
) -> dict[str, NDArray[Any]]:
    """Run a graph on an image, and return its own outputs by name."""
    from lemore_core.images.image import to_network

    pixels = to_network(image, 'rgb8', source.height, source.width)
    with refusing(f'ONNX Runtime cannot run {path} at {source.width}x{source.height}', ExportError):
        session = open_session(model.SerializeToString())
        values = session.run(None, {'pixels': pixels[None]})
    return {
        output.name.removeprefix(PREFIX): value
        for output, value in zip(session.get_outputs(), values, strict=True)
        if output.type.startswith('tensor')  # others are sequences, maps and optional
    }


def _find_output(
    path: Path, outputs: dict[str, NDArray[Any]], wanted: str | None, classes: int, source: _Input
) -> _Output:
    """Choose among the outputs for a real image, and check its values."""
    if wanted is not None:
        _require(wanted in outputs, f'{path} has no output {wanted!r}, it has {", ".join(outputs)}')
        outputs = {wanted: outputs[wanted]}
    shapes = ', '.join(f'{name} {value.dtype} {value.shape}' for name, value in outputs.items())
    plain = [name for name, value in outputs.items() if value.ndim == 4]
    outputs = {name: _one_image(value) for name, value in outputs.items()}
    forms = {name: _form(value, classes) for name, value in outputs.items()}
    fitting = [name for name, form in forms.items() if form]
    _require(
        fitting,
        f'{path} has no output of {classes} classes, as the class table has: it gives '
        f'{shapes or "no tensor"}; logits are (1, {classes}, h, w) or (1, h, w, {classes}), class '
        'ids (1, h, w); one channel (sigmoid) is two classes, the background first',
    )
    several = f'{path} has several outputs that fit: name one with --logits ({shapes})'
    _require(len(fitting) == 1, several)
    (name,) = fitting
    value, form = outputs[name], forms[name]
    no_numbers = f'{path} gives NaN or infinite logits for a real image: check --mean and --std'
    _require(np.isfinite(value).all(), no_numbers)
    if form in FORMS:
        ids = value.argmax(FORMS[form])
    else:
        ids = value > ONE_CHANNEL[form][0] if form in ONE_CHANNEL else value
    found = np.unique(ids)
    strange = f'{path} gives class ids up to {found[-1]}, the table has 0 to {classes - 1}'
    _require(found[0] >= 0 and found[-1] < classes, strange)
    _require(
        len(found) > 1,
        f'{path} calls every pixel of a real image class {int(found[0])} of {classes}: '
        'check --mean, --std (0 0 0 and 1 1 1 where it normalises by itself), --channels, --layout '
        'and the class table',
    )
    height, width = (side for side in ids.shape[1:] if form in FORMS or side != 1)
    low, high = sorted((height * source.width, width * source.height))
    _require(
        high <= max(MOST_SKEW * low, low + max(source.height, source.width)),
        f'{path} gives {width}x{height} labels for {source.width}x{source.height} pixels: they are '
        f'transposed or flattened, export (1, {classes}, height, width)',
    )
    return _Output(name, form, height, width, name in plain)


def _one_image(value: NDArray[Any]) -> NDArray[Any]:
    """Return an output of any rank as (1, …), without further axes of length 1."""
    if value.ndim in (2, 3) and value.shape[0] != 1:
        return value[None]
    is_deep = value.ndim > 4 and value.shape[0] == 1
    return value.reshape(1, *(side for side in value.shape if side != 1)) if is_deep else value


def _form(value: NDArray[Any], classes: int) -> str:
    """Return the form of an output, empty for an unsupported one."""
    is_image = value.ndim in (3, 4) and value.shape[0] == 1 and value.size
    if not is_image or value.dtype.kind not in 'iubf':
        return ''
    is_float, low, high = value.dtype.kind == 'f', value.min(), value.max()
    is_probable = is_float and low >= 0 and high <= 1
    for form, axis in FORMS.items():
        # a quantised network gives integers, like ids, which have one channel
        is_score = (is_float or min(value.shape[1:]) > 1) and is_probable == ('prob' in form)
        if is_score and value.ndim == 4 and value.shape[axis] == classes:
            return form
    if sum(side != 1 for side in value.shape[1:]) != 2:
        return ''
    if classes == 2 and high == 255 and np.isin(value, (0, 255)).all():
        return MASK
    if not is_float or (low >= 0 and high < classes and not np.any(value % 1)):
        return CLASS_IDS
    return '' if classes != 2 else PROBABILITY if is_probable else LOGIT


def _add_output(model: ModelProto, output: _Output, classes: int) -> None:
    """Give a graph the output ``logits``, (1, h, w, classes) float32."""
    from onnx import TensorProto, helper

    shape = [1, output.height, output.width, classes]
    steps: list[Step] = [('Cast', {}, {'to': TensorProto.FLOAT})]
    if output.form == CLASS_IDS:
        values = {'depth': np.array(classes), 'values': np.array([0, CERTAIN], np.float32)}
        steps = [
            ('Cast', {}, {'to': TensorProto.INT64}),
            ('Reshape', {'sides': np.array(shape[:3])}, {}),
            ('OneHot', values, {'axis': -1}),
        ]
    elif output.form in ONE_CHANNEL:
        _, factor, summand = ONE_CHANNEL[output.form]
        steps += [
            ('Reshape', {'sides': np.array([*shape[:3], 1])}, {}),
            ('Mul', {'factor': np.array(factor, np.float32)}, {}),
            ('Add', {'summand': np.array(summand, np.float32)}, {}),
        ]
    else:
        is_planes = FORMS[output.form] == 1
        sides = [1, classes, *shape[1:3]] if is_planes else shape
        steps += [('Reshape', {'sides': np.array(sides)}, {})] * (not output.is_plain)
        steps += [('Transpose', {}, {'perm': [0, 2, 3, 1]})] * is_planes
    if 'probab' in output.form:
        steps += [('Max', {'least': np.array(LEAST, np.float32)}, {}), ('Log', {}, {})]
    _add_steps(model, PREFIX + output.name, steps, 'logits')
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info('logits', TensorProto.FLOAT, shape))


def _add_steps(model: ModelProto, first: str, steps: Sequence[Step], last: str) -> None:
    """Add nodes that run in turn, from the tensor ``first`` to the tensor ``last``."""
    from onnx import helper, numpy_helper

    for number, (operator, constants, attributes) in enumerate(steps, 1):
        result = last if number == len(steps) else f'{last}/{number}'
        node = helper.make_node(operator, [first, *constants], [result], **attributes)
        model.graph.node.append(node)
        model.graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in constants.items()
        )
        first = result
