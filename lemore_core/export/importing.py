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
    from onnx import ModelProto, NodeProto, ValueInfoProto

Layout = Literal['auto', 'nhwc', 'nchw']

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
    options = options or ImportOptions()
    model = _read(path)
    source = _Input.of(path, model, options)
    mean, std = _normalisation(path, source, options)
    outputs = _probe(path, model, source, image, mean, std)
    name, result = _choose(path, outputs, options.logits, len(taxonomy.classes))
    wrapped, form = _wrap(model, source, name, result, len(taxonomy.classes), mean, std)
    names = [text.removeprefix(PREFIX) for text in (source.name, name)]
    card = ModelCard(
        name=path.stem,
        config=ImportedConfig(len(taxonomy.classes), source.height, source.width),
        taxonomy=taxonomy,
        licence=licence,
        mean=mean or (0.0, 0.0, 0.0),
        std=std or (1.0, 1.0, 1.0),
        training={'imported': path.name, 'input': names[0], 'output': names[1]},
    )
    from onnx import helper

    helper.set_model_props(wrapped, card.to_metadata())
    content = bytes(wrapped.SerializeToString())
    _check(path, content, source, image, len(taxonomy.classes))
    taken = 'as they are' if mean is None else f'less {mean}, over {std}'
    summary = (
        f'input {names[0]}: {source.width}x{source.height} {source.layout.upper()}, pixels '
        f'{taken}; output {names[1]}: {form}'
    )
    return Imported(content, card, summary)


@dataclass(frozen=True)
class _Input:
    name: str
    elem_type: int
    layout: Literal['nhwc', 'nchw']
    height: int
    width: int

    @property
    def takes_bytes(self) -> bool:
        from onnx import TensorProto

        return self.elem_type == TensorProto.UINT8

    def tensor(
        self, image: NDArray[np.uint8], mean: RGB | None, std: RGB | None
    ) -> NDArray[np.generic]:
        """Return what the foreign graph takes for RGB (height, width, 3) uint8."""
        from onnx import helper

        values: NDArray[Any] = image[None]
        if mean is not None and std is not None:
            values = (values - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
        if self.layout == 'nchw':
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values, helper.tensor_dtype_to_np_dtype(self.elem_type))

    @classmethod
    def of(cls, path: Path, model: ModelProto, options: ImportOptions) -> _Input:
        from onnx import TensorProto

        constants = {tensor.name for tensor in model.graph.initializer}
        inputs = [entry for entry in model.graph.input if entry.name not in constants]
        if len(inputs) != 1:
            names = ', '.join(entry.name.removeprefix(PREFIX) for entry in inputs) or 'none'
            msg = f'{path} has the inputs {names}: a network of one image is needed'
            raise ImportedModelError(msg)
        (entry,) = inputs
        kind = entry.type.tensor_type.elem_type
        if kind not in (TensorProto.UINT8, TensorProto.FLOAT, TensorProto.FLOAT16):
            found = TensorProto.DataType.Name(kind)
            msg = f'{path}: input {entry.name.removeprefix(PREFIX)} is {found}, it must be uint8, float or float16'
            raise ImportedModelError(msg)
        layout, height, width = _shape(path, entry, options)
        return cls(entry.name, kind, layout, height, width)


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


def _shape(
    path: Path, entry: ValueInfoProto, options: ImportOptions
) -> tuple[Literal['nhwc', 'nchw'], int, int]:
    sides = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]  # 0 where it is open
    if len(sides) != 4 or sides[0] not in (0, 1):
        msg = (
            f'{path}: input {entry.name.removeprefix(PREFIX)} has the shape {sides}, an image is '
            '(1, height, width, 3) or (1, 3, height, width)'
        )
        raise ImportedModelError(msg)
    layout = options.layout
    if layout == 'auto':
        layout = 'nhwc' if sides[3] == 3 and sides[1] != 3 else 'nchw'
    channels = sides[3] if layout == 'nhwc' else sides[1]
    if channels not in (0, 3):
        msg = f'{path}: input {entry.name.removeprefix(PREFIX)} has {channels} channels in {layout}, an image has 3'
        raise ImportedModelError(msg)
    height, width = sides[1:3] if layout == 'nhwc' else sides[2:4]
    if options.size is not None:
        for side, asked in zip((height, width), options.size, strict=True):
            if side not in (0, asked):
                msg = f'{path} takes {width}x{height} pixels, not {options.size[::-1]}'
                raise ImportedModelError(msg)
        height, width = options.size
    if not (height and width):
        msg = f'{path} takes images of any size: choose one with --height and --width'
        raise ImportedModelError(msg)
    return layout, height, width


def _normalisation(
    path: Path, source: _Input, options: ImportOptions
) -> tuple[RGB | None, RGB | None]:
    given = options.mean, options.std
    if source.takes_bytes:
        if given != (None, None):
            msg = f'{path} takes uint8 pixels as they are: leave --mean and --std out'
            raise ImportedModelError(msg)
        return None, None
    mean, std = options.mean or IMAGENET_MEAN, options.std or IMAGENET_STD
    if not all(np.isfinite([*mean, *std])) or min(std) <= 0:
        msg = f'mean {mean} and std {std} must be finite, std positive'
        raise ImportedModelError(msg)
    return mean, std


def _probe(
    path: Path,
    model: ModelProto,
    source: _Input,
    image: NDArray[np.uint8],
    mean: RGB | None,
    std: RGB | None,
) -> dict[str, NDArray[Any]]:
    """Run the foreign graph on a real image and return its outputs by name."""
    import onnxruntime

    from lemore_core.image import to_network

    pixels = to_network(image, 'rgb8', source.height, source.width)
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=['CPUExecutionProvider']
        )
        names = [output.name for output in session.get_outputs()]
        values = session.run(names, {source.name: source.tensor(pixels, mean, std)})
    except Exception as error:  # the runtime's exceptions share no other base
        msg = f'ONNX Runtime cannot run {path}: {_first_line(error)}'
        raise ImportedModelError(msg) from error
    return dict(zip(names, values, strict=True))


def _choose(
    path: Path, outputs: dict[str, NDArray[Any]], wanted: str | None, classes: int
) -> tuple[str, NDArray[Any]]:
    if wanted is not None:
        if PREFIX + wanted not in outputs:
            names = ', '.join(name.removeprefix(PREFIX) for name in outputs)
            msg = f'{path} has no output {wanted!r}, it has {names}'
            raise ImportedModelError(msg)
        outputs = {PREFIX + wanted: outputs[PREFIX + wanted]}
    fitting = {name: value for name, value in outputs.items() if _form(value, classes)}
    if len(fitting) == 1:
        return next(iter(fitting.items()))
    shapes = ', '.join(
        f'{name.removeprefix(PREFIX)} {value.dtype} {value.shape}'
        for name, value in outputs.items()
    )
    if fitting:
        msg = f'{path} has several outputs that fit: name one with --logits ({shapes})'
    else:
        msg = (
            f'{path} has no output of {classes} classes, as the class table has: it gives {shapes}; '
            f'logits are (1, {classes}, h, w) or (1, h, w, {classes}), class ids (1, h, w)'
        )
    raise ImportedModelError(msg)


def _form(value: NDArray[Any], classes: int) -> str:
    """Say what an output is: logits in one of two layouts, or class ids; empty for neither."""
    if value.ndim == 4 and value.dtype.kind == 'f' and value.shape[0] == 1:
        if value.shape[1] == classes:
            return 'logits NCHW'
        if value.shape[3] == classes:
            return 'logits NHWC'
    if value.dtype.kind in 'iu' and value.ndim in (3, 4) and value.shape[0] == 1:
        plane = [side for side in value.shape[1:] if side != 1]
        return 'class ids' if len(plane) == 2 else ''
    return ''


def _wrap(
    model: ModelProto,
    source: _Input,
    output: str,
    result: NDArray[Any],
    classes: int,
    mean: RGB | None,
    std: RGB | None,
) -> tuple[ModelProto, str]:
    """Return the graph from ``pixels`` to ``logits``, and what its own output is."""
    from onnx import TensorProto, helper

    form = _form(result, classes)
    nodes = _before(model, source, mean, std)
    after, sides = _after(model, output, result, classes, form)
    graph = helper.make_graph(
        [*nodes, *model.graph.node, *after],
        'imported',
        [
            helper.make_tensor_value_info(
                'pixels', TensorProto.UINT8, [1, source.height, source.width, 3]
            )
        ],
        [helper.make_tensor_value_info('logits', TensorProto.FLOAT, [1, *sides, classes])],
        list(model.graph.initializer),
    )
    wrapped = helper.make_model(graph, opset_imports=model.opset_import, functions=model.functions)
    wrapped.ir_version = model.ir_version
    return wrapped, form


def _before(
    model: ModelProto, source: _Input, mean: RGB | None, std: RGB | None
) -> list[NodeProto]:
    from onnx import TensorProto

    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    if mean is not None and std is not None:
        _constant(model, 'mean', np.asarray(mean, np.float32))
        _constant(model, 'std', np.asarray(std, np.float32))
        steps += [
            ('Cast', [], {'to': TensorProto.FLOAT}),
            ('Sub', ['mean'], {}),
            ('Div', ['std'], {}),
        ]
        if source.elem_type == TensorProto.FLOAT16:
            steps.append(('Cast', [], {'to': TensorProto.FLOAT16}))
    if source.layout == 'nchw':
        steps.append(('Transpose', [], {'perm': [0, 3, 1, 2]}))
    return _chain('pixels', steps or [('Identity', [], {})], source.name)


def _after(
    model: ModelProto, output: str, result: NDArray[Any], classes: int, form: str
) -> tuple[list[NodeProto], Sequence[int]]:
    from onnx import TensorProto

    if form == 'class ids':
        sides = [side for side in result.shape[1:] if side != 1]
        _constant(model, 'sides', np.array([1, *sides], np.int64))
        _constant(model, 'depth', np.array(classes, np.int64))
        _constant(model, 'values', np.array([0, CERTAIN], np.float32))
        steps: list[tuple[str, list[str], dict[str, Any]]] = [
            ('Cast', [], {'to': TensorProto.INT64}),
            ('Reshape', ['sides'], {}),
            ('OneHot', ['depth', 'values'], {'axis': -1}),
        ]
        return _chain(output, steps, 'logits'), sides
    steps = [('Cast', [], {'to': TensorProto.FLOAT})]
    if form == 'logits NCHW':
        steps.append(('Transpose', [], {'perm': [0, 2, 3, 1]}))
        return _chain(output, steps, 'logits'), result.shape[2:]
    return _chain(output, steps, 'logits'), result.shape[1:3]


def _constant(model: ModelProto, name: str, value: NDArray[Any]) -> None:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def _chain(
    first: str, steps: Sequence[tuple[str, list[str], dict[str, Any]]], last: str
) -> list[NodeProto]:
    """Return nodes that work one after the other; the last one's result is called ``last``."""
    from onnx import helper

    nodes = []
    for number, (operator, more, attributes) in enumerate(steps, 1):
        result = last if number == len(steps) else f'{last}/{number}'
        nodes.append(helper.make_node(operator, [first, *more], [result], **attributes))
        first = result
    return nodes


def _check(
    path: Path, content: bytes, source: _Input, image: NDArray[np.uint8], classes: int
) -> None:
    """See that the wrapped graph gives usable logits of a real image."""
    import onnxruntime

    from lemore_core.image import to_network

    try:
        session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
        pixels = to_network(image, 'rgb8', source.height, source.width)
        (logits,) = session.run(['logits'], {'pixels': pixels[None]})
    except Exception as error:  # the runtime's exceptions share no other base
        msg = f'{path} does not run with its new input and output: {_first_line(error)}'
        raise ImportedModelError(msg) from error
    if not np.isfinite(logits).all():
        msg = f'{path} gives NaN or infinite logits for a real image: check --mean and --std'
        raise ImportedModelError(msg)
    found = np.unique(logits.argmax(-1))
    if len(found) < 2:
        msg = (
            f'{path} calls every pixel of a real image class {found[0]} of {classes}: '
            'check --mean, --std, --layout and the class table'
        )
        raise ImportedModelError(msg)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
