from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from lemore_core.cli.export import calibration_images
from lemore_core.cli.main import main
from lemore_core.common.errors import LemoreError
from lemore_core.data.datasets import open_dataset
from lemore_core.evaluation.metrics import ConfusionMatrix
from lemore_core.export.export import export_onnx
from lemore_core.export.model_card import read_model_card
from lemore_core.export.quantize import QuantisationError, label_agreement, quantise
from lemore_core.images.image import to_network
from lemore_core.inference.onnxruntime_backend import OnnxNetwork
from lemore_core.segmenter import Segmenter, resolve_checkpoint

NANO = resolve_checkpoint('nano')
SIZE = (192, 320)
Frames = list[NDArray[np.uint8]]


@pytest.fixture(scope='module')
def floats() -> bytes:
    return export_onnx(NANO, *SIZE)


@pytest.fixture(scope='module')
def images(clip_frames: Frames) -> Frames:
    return [to_network(frame, 'bgr8', *SIZE) for frame in clip_frames]


@pytest.fixture(scope='module')
def quantised(floats: bytes, images: Frames) -> bytes:
    return quantise(floats, images[:4])


def test_it_is_int8_in_the_scheme_of_tensorrt(quantised: bytes) -> None:
    graph = onnx.load_from_string(quantised).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    steps = [n for n in graph.node if n.op_type in ('QuantizeLinear', 'DequantizeLinear')]
    for node in steps:
        zero_point = constants[node.input[2]]
        assert zero_point.dtype == np.int8, node.name
        assert not zero_point.any(), node.name
    convolutions = [node for node in graph.node if node.op_type == 'Conv']
    eight_bit = {
        n.name for n in convolutions if producers[n.input[0]].op_type == 'DequantizeLinear'
    }
    kept = {n.name for n in convolutions} - eight_bit
    assert kept == {n.name for n in convolutions if '/stem/' in n.name}
    assert len(kept) == 3
    assert len(eight_bit) > 30
    for node in convolutions:
        if node.name in eight_bit:
            weights = producers[node.input[1]]
            assert constants[weights.input[1]].shape == constants[weights.input[0]].shape[:1]
            assert node.input[2] in constants, 'the bias is float32: TensorRT takes no int32 one'


def test_tensorrt_reads_it(quantised: bytes) -> None:
    trt = pytest.importorskip('tensorrt_rtx')
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flag)
    parser = trt.OnnxParser(network, builder.logger)
    assert parser.parse(quantised), [str(parser.get_error(i)) for i in range(parser.num_errors)]
    network.get_input(0).shape = (1, *network.get_input(0).shape[1:])
    assert tuple(network.get_output(0).shape) == (1, 24, 40, 11)


def test_it_labels_images_that_it_has_not_seen_as_before(
    floats: bytes, quantised: bytes, images: Frames
) -> None:
    agreement = label_agreement(floats, quantised, images[4:])
    assert 0.93 <= agreement < 1.0


def test_it_is_smaller_and_served_with_its_card(
    floats: bytes, quantised: bytes, clip_frames: Frames, tmp_path: Path
) -> None:
    path = tmp_path / 'int8.onnx'
    path.write_bytes(quantised)
    assert path.stat().st_size < 0.5 * len(floats)
    segmenter = Segmenter.load(path, backend='onnxruntime')
    assert segmenter.card == read_model_card(path)
    labels = segmenter.segment(clip_frames[4], 'bgr8').labels
    reference = Segmenter.load(NANO, backend='onnxruntime', network_size=SIZE)
    assert (labels == reference.segment(clip_frames[4], 'bgr8').labels).mean() >= 0.9


def test_a_network_that_eight_bits_ruin_is_refused(floats: bytes, images: Frames) -> None:
    with pytest.raises(
        QuantisationError, match=r'keeps \d+\.\d% of its labels.* 100% is the least'
    ):
        quantise(floats, images[:1], least_agreement=1.0)


def test_no_images_no_calibration(floats: bytes, tmp_path: Path) -> None:
    with pytest.raises(QuantisationError, match='no images to calibrate with'):
        quantise(floats, [])
    with pytest.raises(LemoreError, match='no image in'):
        calibration_images(tmp_path)
    output = tmp_path / 'nano.onnx'
    assert main(['export', '--model', 'nano', '--int8', str(tmp_path), '-o', str(output)]) == 1
    assert not output.exists()


def test_calibration_images_are_spread_over_the_folder(tmp_path: Path) -> None:
    (tmp_path / 'b').mkdir()
    for i in range(70):
        folder = tmp_path / 'b' if i >= 35 else tmp_path
        cv2.imwrite(str(folder / f'{i:02}.png'), np.full((2, 3, 3), (i, 0, 200), np.uint8))
    found = calibration_images(tmp_path)
    assert len(found) == 32
    assert found[0].shape == (2, 3, 3)
    assert found[0][0, 0].tolist() == [200, 0, 0]
    blues = [int(image[0, 0, 2]) for image in found]
    assert blues == sorted(set(blues))
    assert blues[-1] >= 66


def test_it_loses_at_most_a_point_on_camvid(camvid: Path) -> None:
    size = (360, 480)
    floats = export_onnx(NANO, *size)
    images = [to_network(p, 'rgb8', *size) for p in calibration_images(camvid / 'train')[::4]]
    samples = open_dataset('camvid', camvid).samples('val')[::10]
    figures = []
    for content in (floats, quantise(floats, images)):
        backend = OnnxNetwork(content, 'cpu', 'nano', threads=1)
        matrix = ConfusionMatrix(11)
        for sample in samples:
            logits = backend(to_network(sample.read_image(), 'rgb8', *size)[None])[0]
            truth = sample.read_mask()[4::8, 4::8]
            matrix.add(truth, logits.argmax(-1))
        figures.append(matrix.mean_iou)
    assert figures[0] > 0.5
    assert figures[1] >= figures[0] - 0.01
