"""Any segmentation network in ONNX, made into a file that is served like LeMoRe's own.

The foreign graph gets a new input, ``pixels`` (1, height, width, 3) uint8 RGB, and a new output,
``logits`` (1, h, w, classes) float32; what lies between them and the graph's own is ONNX as well.
So nothing that serves, decodes or measures needs to know where a network came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lemore_core.checkpoint import RGB, ModelCard
from lemore_core.export.errors import ExportError
from lemore_core.model.imported import ImportedConfig
from lemore_core.taxonomy import Taxonomy

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Layout = Literal['auto', 'nhwc', 'nchw']
# an operator, its inputs after the first, its attributes
Step = tuple[str, list[str], dict[str, Any]]
NCHW, NHWC, CLASS_IDS = 'logits NCHW', 'logits NHWC', 'class ids'

# of the foreign graph's names, so that none of them is one of ours
PREFIX = 'imported/'
# what a class id counts as where the network gives no logits: a certain winner
CERTAIN = 20.0
IMAGENET_MEAN, IMAGENET_STD = ModelCard.mean, ModelCard.std


class ImportedModelError(ExportError):
    """A foreign ONNX file that cannot be made into one that is served."""


@dataclass(frozen=True)
class ImportOptions:
    """How a foreign network wants its image, and where its result is.

    ``mean`` and ``std`` normalise RGB values of 0..255 for a network that takes floats; by default
    they are ImageNet's. ``size`` (height, width) is for a file that takes any. ``logits`` names
    the output, where there are several.
    """

    layout: Layout = 'auto'
    mean: RGB | None = None
    std: RGB | None = None
    size: tuple[int, int] | None = None
    logits: str | None = None


@dataclass(frozen=True)
class Imported:
    """A file that is served like an export: its bytes, its card, and what was found out."""

    content: bytes
    card: ModelCard
    summary: str


def import_onnx(
    path: Path,
    taxonomy: Taxonomy,
    image: NDArray[np.uint8],
    options: ImportOptions | None = None,
    *,
    licence: str = 'unknown: ask who made the network',
) -> Imported:
    """Return a foreign ONNX file as one that is served like LeMoRe's own exports.

    ``image`` is a real one, (H, W, 3) uint8 RGB of any size, which the result must segment.

    Raises:
        ImportedModelError: the file is missing, damaged or no segmentation network; it takes or
            gives other types, ranks or sizes than can be adapted; its classes are not as many as
            the taxonomy's; or it gives NaN or one class everywhere for the image.
    """
    from onnx import checker, helper

    options = options or ImportOptions()
    classes = len(taxonomy.classes)
    model = _read(path)
    source = _Input.of(path, model, options)
    _take_pixels(model, source)
    output = _Output.of(path, _run(path, model, source, image), options.logits, classes)
    _give_logits(model, output, classes)
    names = [text.removeprefix(PREFIX) for text in (source.name, output.name)]
    card = ModelCard(
        name=path.stem,
        config=ImportedConfig(classes, source.height, source.width),
        taxonomy=taxonomy,
        licence=licence,
        mean=source.mean or (0.0, 0.0, 0.0),
        std=source.std or (1.0, 1.0, 1.0),
        training={'imported': path.name, 'input': names[0], 'output': names[1]},
    )
    helper.set_model_props(model, card.to_metadata())
    checker.check_model(model)
    taken = 'as they are' if source.mean is None else f'less {source.mean}, over {source.std}'
    summary = (
        f'input {names[0]}: {source.width}x{source.height} {source.layout.upper()}, pixels '
        f'{taken}; output {names[1]}: {output.form}'
    )
    return Imported(bytes(model.SerializeToString()), card, summary)


@dataclass(frozen=True)
class _Input:
    """The foreign input; ``mean`` and ``std`` are None where it takes bytes."""

    name: str
    elem_type: int
    layout: Literal['nhwc', 'nchw']
    height: int
    width: int
    mean: RGB | None
    std: RGB | None

    @classmethod
    def of(cls, path: Path, model: ModelProto, options: ImportOptions) -> _Input:
        from onnx import TensorProto

        constants = {tensor.name for tensor in model.graph.initializer}
        inputs = [entry for entry in model.graph.input if entry.name not in constants]
        if len(inputs) != 1:
            names = ', '.join(entry.name.removeprefix(PREFIX) for entry in inputs) or 'none'
            msg = f'{path} has the inputs {names}: a network of one image is needed'
            raise ImportedModelError(msg)
        tensor, where = inputs[0].type.tensor_type, f'{path}: input {inputs[0].name[len(PREFIX) :]}'
        if tensor.elem_type not in (TensorProto.UINT8, TensorProto.FLOAT, TensorProto.FLOAT16):
            found = TensorProto.DataType.Name(tensor.elem_type)
            msg = f'{where} is {found}, it must be uint8, float or float16'
            raise ImportedModelError(msg)
        sides = [dim.dim_value for dim in tensor.shape.dim]  # 0 where it is open
        layout, height, width = _image_shape(where, sides, options)
        mean, std = _normalisation(path, tensor.elem_type == TensorProto.UINT8, options)
        return cls(inputs[0].name, tensor.elem_type, layout, height, width, mean, std)


@dataclass(frozen=True)
class _Output:
    """The foreign output, what it is, and (height, width) of it."""

    name: str
    form: str
    sides: tuple[int, int]

    @classmethod
    def of(
        cls, path: Path, outputs: dict[str, NDArray[Any]], wanted: str | None, classes: int
    ) -> _Output:
        """Choose among the outputs for a real image, and refuse one that is of no use."""
        if wanted is not None:
            if wanted not in outputs:
                msg = f'{path} has no output {wanted!r}, it has {", ".join(outputs)}'
                raise ImportedModelError(msg)
            outputs = {wanted: outputs[wanted]}
        fitting = {name: value for name, value in outputs.items() if _form(value, classes)}
        if len(fitting) != 1:
            shapes = ', '.join(f'{name} {v.dtype} {v.shape}' for name, v in outputs.items())
            msg = f'{path} has several outputs that fit: name one with --logits ({shapes})'
            if not fitting:
                msg = (
                    f'{path} has no output of {classes} classes, as the class table has: it gives '
                    f'{shapes}; logits are (1, {classes}, h, w) or (1, h, w, {classes}), class '
                    'ids (1, h, w)'
                )
            raise ImportedModelError(msg)
        ((name, value),) = fitting.items()
        form = _form(value, classes)
        ids = value if form == CLASS_IDS else value.argmax(1 if form == NCHW else 3)
        _check_classes(path, value, ids, classes)
        height, width = (side for side in ids.shape[1:] if form != CLASS_IDS or side != 1)
        return cls(PREFIX + name, form, (height, width))


def _read(path: Path) -> ModelProto:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import compose

    if not path.is_file():
        msg = f'there is no file {path}'
        raise ImportedModelError(msg)
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        msg = f'{path} is no readable ONNX file: {_first_line(error)}'
        raise ImportedModelError(msg) from error
    return compose.add_prefix(model, PREFIX)


def _image_shape(
    where: str, sides: list[int], options: ImportOptions
) -> tuple[Literal['nhwc', 'nchw'], int, int]:
    if len(sides) != 4 or sides[0] not in (0, 1):
        msg = (
            f'{where} has the shape {sides}, an image is (1, height, width, 3) or '
            '(1, 3, height, width)'
        )
        raise ImportedModelError(msg)
    layout = options.layout
    if layout == 'auto':
        layout = 'nhwc' if sides[3] == 3 and sides[1] != 3 else 'nchw'
    channels, *found = sides[3:] + sides[1:3] if layout == 'nhwc' else sides[1:]
    if channels not in (0, 3):
        msg = f'{where} has {channels} channels in {layout}, an image has 3'
        raise ImportedModelError(msg)
    height, width = options.size or found
    if any(side not in (0, asked) for side, asked in zip(found, (height, width), strict=True)):
        msg = f'{where} takes {found[1]}x{found[0]} pixels, not {width}x{height}'
        raise ImportedModelError(msg)
    if not (height and width):
        msg = f'{where} takes images of any size: choose one with --height and --width'
        raise ImportedModelError(msg)
    return layout, height, width


def _normalisation(
    path: Path, takes_bytes: bool, options: ImportOptions
) -> tuple[RGB | None, RGB | None]:
    if takes_bytes:
        if (options.mean, options.std) != (None, None):
            msg = f'{path} takes uint8 pixels as they are: leave --mean and --std out'
            raise ImportedModelError(msg)
        return None, None
    mean, std = options.mean or IMAGENET_MEAN, options.std or IMAGENET_STD
    if not all(np.isfinite([*mean, *std])) or min(std) <= 0:
        msg = f'mean {mean} and std {std} must be finite, std positive'
        raise ImportedModelError(msg)
    return mean, std


def _take_pixels(model: ModelProto, source: _Input) -> None:
    """Let a graph begin with ``pixels``, (1, height, width, 3) uint8 RGB."""
    from onnx import TensorProto, helper

    steps: list[Step] = []
    if source.mean is not None:
        _constant(model, 'mean', np.asarray(source.mean, np.float32))
        _constant(model, 'std', np.asarray(source.std, np.float32))
        steps += [
            ('Cast', [], {'to': TensorProto.FLOAT}),
            ('Sub', ['mean'], {}),
            ('Div', ['std'], {}),
            ('Cast', [], {'to': source.elem_type}),
        ]
    if source.layout == 'nchw':
        steps.append(('Transpose', [], {'perm': [0, 3, 1, 2]}))
    nodes = [*_chain('pixels', steps or [('Identity', [], {})], source.name), *model.graph.node]
    shape = [1, source.height, source.width, 3]
    pixels = helper.make_tensor_value_info('pixels', TensorProto.UINT8, shape)
    for field, entries in (('node', nodes), ('input', [pixels]), ('value_info', [])):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(entries)


def _run(
    path: Path, model: ModelProto, source: _Input, image: NDArray[np.uint8]
) -> dict[str, NDArray[Any]]:
    """Run a graph from pixels on a real image, and return its own outputs by name."""
    import onnxruntime

    from lemore_core.images.image import to_network

    pixels = to_network(image, 'rgb8', source.height, source.width)
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=['CPUExecutionProvider']
        )
        values = session.run(None, {'pixels': pixels[None]})
    except Exception as error:  # the runtime's exceptions share no other base
        msg = f'ONNX Runtime cannot run {path}: {_first_line(error)}'
        raise ImportedModelError(msg) from error
    names = (output.name.removeprefix(PREFIX) for output in session.get_outputs())
    return dict(zip(names, values, strict=True))


def _form(value: NDArray[Any], classes: int) -> str:
    """Say what an output is: logits in one of two layouts, or class ids; empty for neither."""
    if value.ndim == 4 and value.dtype.kind == 'f' and value.shape[0] == 1:
        if value.shape[1] == classes:
            return NCHW
        if value.shape[3] == classes:
            return NHWC
    if value.dtype.kind in 'iu' and value.ndim in (3, 4) and value.shape[0] == 1:
        return CLASS_IDS if sum(side != 1 for side in value.shape[1:]) == 2 else ''
    return ''


def _check_classes(path: Path, value: NDArray[Any], ids: NDArray[Any], classes: int) -> None:
    if not np.isfinite(value).all():
        msg = f'{path} gives NaN or infinite logits for a real image: check --mean and --std'
        raise ImportedModelError(msg)
    found = np.unique(ids)
    if len(found) < 2:
        msg = (
            f'{path} calls every pixel of a real image class {found[0]} of {classes}: '
            'check --mean, --std, --layout and the class table'
        )
        raise ImportedModelError(msg)


def _give_logits(model: ModelProto, output: _Output, classes: int) -> None:
    """Let a graph end with ``logits``, (1, h, w, classes) float32."""
    from onnx import TensorProto, helper

    steps: list[Step] = [('Cast', [], {'to': TensorProto.FLOAT})]
    if output.form == NCHW:
        steps.append(('Transpose', [], {'perm': [0, 2, 3, 1]}))
    elif output.form == CLASS_IDS:
        _constant(model, 'sides', np.array([1, *output.sides], np.int64))
        _constant(model, 'depth', np.array(classes, np.int64))
        _constant(model, 'values', np.array([0, CERTAIN], np.float32))
        steps = [
            ('Cast', [], {'to': TensorProto.INT64}),
            ('Reshape', ['sides'], {}),
            ('OneHot', ['depth', 'values'], {'axis': -1}),
        ]
    model.graph.node.extend(_chain(output.name, steps, 'logits'))
    shape = [1, *output.sides, classes]
    model.graph.ClearField('output')
    model.graph.output.append(helper.make_tensor_value_info('logits', TensorProto.FLOAT, shape))


def _constant(model: ModelProto, name: str, value: NDArray[Any]) -> None:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def _chain(first: str, steps: Sequence[Step], last: str) -> list[NodeProto]:
    """Return nodes that work one after the other; the last one's result is called ``last``."""
    from onnx import helper

    nodes = []
    for number, (operator, more, attributes) in enumerate(steps, 1):
        result = last if number == len(steps) else f'{last}/{number}'
        nodes.append(helper.make_node(operator, [first, *more], [result], **attributes))
        first = result
    return nodes


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
