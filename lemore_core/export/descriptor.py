"""Give a foreign network in ONNX the second output that familiarity needs."""

from __future__ import annotations

import json

from lemore_core.export import DESCRIPTOR

COARSE = 8  # stride of the first resolution taken: the finer ones cost time and tell less
LEAST_PLACES, MOST_CHANNELS = 16, 1024


def add_descriptor(content: bytes) -> bytes | None:
    """Return an imported file with a ``descriptor``; ``None`` if it has no suitable layers.

    It is the mean and deviation over the image of the last convolution at each resolution of 1/8
    and coarser. ``content`` is of :func:`~lemore_core.export.importing.import_onnx`.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load_from_string(content)
    graph = model.graph
    known = {
        entry.name: [side.dim_value for side in entry.type.tensor_type.shape.dim]
        for entry in onnx.shape_inference.infer_shapes(model).graph.value_info
        if entry.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    pixels = graph.input[0].type.tensor_type.shape.dim
    most = pixels[1].dim_value * pixels[2].dim_value / COARSE**2
    last: dict[tuple[int, ...], str] = {}
    for node in graph.node:
        shape = known.get(node.output[0], []) if node.op_type == 'Conv' else []
        is_known = len(shape) == 4 and shape[0] == 1 and 0 < shape[1] <= MOST_CHANNELS
        if is_known and LEAST_PLACES <= shape[2] * shape[3] <= most:
            last[tuple(shape[2:])] = node.output[0]
    if not last:
        return None
    parts = []
    for number, name in enumerate(last.values()):
        mean, less, square, variance, deviation = (
            f'{DESCRIPTOR}/{number}/{what}'
            for what in ('mean', 'less', 'square', 'variance', 'deviation')
        )
        for operator, inputs, output in (
            ('GlobalAveragePool', [name], mean),
            ('Sub', [name, mean], less),
            ('Mul', [less, less], square),
            ('GlobalAveragePool', [square], variance),
            ('Sqrt', [variance], deviation),
        ):
            graph.node.append(helper.make_node(operator, inputs, [output]))
        parts += [mean, deviation]
    graph.node.append(helper.make_node('Concat', parts, [f'{DESCRIPTOR}/all'], axis=1))
    graph.node.append(helper.make_node('Flatten', [f'{DESCRIPTOR}/all'], [DESCRIPTOR]))
    size = 2 * sum(known[name][1] for name in last.values())
    shape = [1, size]
    graph.output.append(helper.make_tensor_value_info(DESCRIPTOR, TensorProto.FLOAT, shape))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    metadata['network'] = json.dumps(json.loads(metadata['network']) | {'descriptor': size})
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
