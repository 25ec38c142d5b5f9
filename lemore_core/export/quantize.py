"""INT8 networks: exported files with explicit quantise and dequantise steps.

Symmetric activations with zero point zero, weights with a scale for each output channel, biases
in float32: the one scheme that TensorRT takes, and ONNX Runtime takes it as well. Every
convolution is quantised but those of the stem, whose few channels gain nothing and cost most of
the accuracy that 8 bits cost. What is no convolution stays in float: normalisation, softmax,
sigmoids, the products of attention and views, pooling and resizing.

On a CPU measure before serving it: ONNX Runtime's float convolutions work in a blocked layout that
suits narrow networks, and quantised ones take them out of it.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from lemore_core.common.errors import LemoreError

KEPT = '/stem/'
# of the logit vectors' winning classes; what works keeps well over 0.9
SMALLEST_AGREEMENT = 0.8

Images = Sequence[NDArray[np.uint8]]


class QuantisationError(LemoreError):
    """Images that cannot calibrate a network, or a network that 8 bits ruin."""


def quantise(
    content: bytes, images: Images, *, least_agreement: float = SMALLEST_AGREEMENT
) -> bytes:
    """Return an exported ONNX file in INT8, calibrated on real images.

    ``images`` are (height, width, 3) uint8 RGB of the file's own size: a few dozen of what the
    network will see. Metadata, input and output stay what they are.

    Raises:
        QuantisationError: there are no images, or on less than ``least_agreement`` of them the
            labels are still the float network's.
    """
    if not images:
        msg = 'there are no images to calibrate with: give a few dozen of what it will see'
        raise QuantisationError(msg)
    model = onnx.load_from_string(content)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    with tempfile.TemporaryDirectory(prefix='lemore-int8-') as folder, _quiet_log():
        model = _quantised(model, images, Path(folder))
    onnx.helper.set_model_props(model, metadata)
    quantised = bytes(model.SerializeToString())
    agreement = label_agreement(content, quantised, images)
    if agreement < least_agreement:
        msg = (
            f'in INT8 the network keeps {agreement:.1%} of its labels on the images that it was '
            f'calibrated with, {least_agreement:.0%} is the least: serve it in float'
        )
        raise QuantisationError(msg)
    return quantised


def label_agreement(first: bytes, second: bytes, images: Images) -> float:
    """Return the share of logit vectors for which two ONNX files choose the same class."""
    found = []
    for content in (first, second):
        session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
        runs = (session.run(['logits'], {'pixels': image[None]})[0] for image in images)
        found.append([logits.argmax(-1) for logits in runs])
    return float(np.mean(np.array(found[0]) == np.array(found[1])))


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """The images, one at a time, as the calibration asks for them."""

    def __init__(self, images: Images) -> None:
        self._inputs = ({'pixels': image[None]} for image in images)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._inputs, None)


def _quantised(model: onnx.ModelProto, images: Images, folder: Path) -> onnx.ModelProto:
    prepared, output = folder / 'prepared.onnx', folder / 'int8.onnx'
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    nodes = onnx.load(prepared).graph.node
    quantize_static(
        prepared,
        output,
        _Reader(images),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=['Conv'],
        nodes_to_exclude=[node.name for node in nodes if KEPT in node.name],
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={'ActivationSymmetric': True, 'WeightSymmetric': True, 'QuantizeBias': False},
    )
    return onnx.load(output)


@contextmanager
def _quiet_log() -> Iterator[None]:
    # the quantiser advises, through the root logger, to do what has been done just before
    root = logging.getLogger()
    disabled = root.disabled
    root.disabled = True
    try:
        yield
    finally:
        root.disabled = disabled
